package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/pkg/client"
)

// Bounds of what a master may take while it is attacked. They hold for the
// whole process with its caches and the dead objects of Go's collector.
const (
	floodMemory = 768 << 20 // resident bytes above what it had before
	calmFiles   = 64        // descriptors above what it had before, after the attack
	calmLimit   = 2 * time.Minute
	answerLimit = 30 * time.Second // for an ordinary request during an attack, on a loaded machine
)

// calm is what no attack may change: who leads, and since when each agent is
// healthy.
type calm struct {
	Term  uint64
	Since map[string]string // by node, with its state
	PIDs  map[string]int    // of the masters
}

func (c *cluster) calm(t *testing.T) calm {
	t.Helper()
	s, err := c.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := answer(t.Context(), c, func(ctx context.Context, api *client.Client) (client.List[client.Node], error) {
		return api.Nodes(ctx, client.Query{})
	})
	if err != nil {
		t.Fatal(err)
	}
	out := calm{Term: s.Term, Since: map[string]string{}, PIDs: map[string]int{}}
	for _, n := range nodes.Items {
		if c.nodes[n.ID] != nil { // not a stranger's
			out.Since[n.ID] = n.State + " since " + n.Since
		}
	}
	for _, h := range c.masters {
		out.PIDs[h.Name()] = mustPid(t, h)
	}
	return out
}

// size is what a master's process takes.
type size struct {
	memory int64 // resident bytes
	files  int   // open descriptors
}

func sizeOf(h *hosts.Host) (size, error) {
	pid, err := mainPid(h)
	if err != nil {
		return size{}, err
	}
	all, err := h.Processes()
	if err != nil {
		return size{}, err
	}
	for _, p := range all {
		if p.PID != pid {
			continue
		}
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Machine))
		if err != nil {
			return size{}, err
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Machine))
		if err != nil {
			return size{}, err
		}
		_, rest, _ := strings.Cut(string(text), "VmRSS:")
		kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		return size{kb << 10, len(files)}, err
	}
	return size{}, fmt.Errorf("%s: process %d is gone", h.Name(), pid)
}

// attack runs something against the cluster and checks that masters stay
// within bounds meanwhile, that nothing of the cluster has changed, and that
// they let go of what they took.
func (c *cluster) attack(t *testing.T, do func(ctx context.Context)) {
	t.Helper()
	c.mustServe(t)
	quiet := c.calm(t)
	before := map[*hosts.Host]size{}
	for _, h := range c.masters {
		var err error
		if before[h], err = sizeOf(h); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	watching, endWatch := context.WithCancel(ctx)
	defer endWatch()
	most := map[*hosts.Host]size{}
	var watch sync.WaitGroup
	watch.Go(func() {
		for pause(watching, 200*time.Millisecond) == nil {
			for _, h := range c.masters {
				if now, err := sizeOf(h); err == nil {
					most[h] = size{max(most[h].memory, now.memory), max(most[h].files, now.files)}
				}
			}
		}
	})
	do(ctx)
	endWatch()
	watch.Wait()
	for _, h := range c.masters {
		t.Logf("%s: %d MiB and %d descriptors before, at most %d MiB and %d meanwhile", h.Name(),
			before[h].memory>>20, before[h].files, most[h].memory>>20, most[h].files)
		if grown := most[h].memory - before[h].memory; grown > floodMemory {
			t.Errorf("%s grew by %d MiB, want %d at most", h.Name(), grown>>20, floodMemory>>20)
		}
	}
	if d := cmp.Diff(quiet, c.calm(t)); d != "" {
		t.Errorf("the attack was felt:\n%s", d)
	}
	eventually(t, calmLimit, "masters let go of what they took", func() error {
		for _, h := range c.masters {
			now, err := sizeOf(h)
			if err != nil {
				return err
			}
			if now.files > before[h].files+calmFiles {
				return fmt.Errorf("%s has %d descriptors, before it had %d", h.Name(), now.files, before[h].files)
			}
		}
		return nil
	})
	c.mustServe(t)
}

// mustServe waits until all masters vote and all agents of the cluster take
// work, whatever a stranger's machine does.
func (c *cluster) mustServe(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "all masters and agents serve", func() error {
		s, err := c.status(t.Context())
		if err != nil {
			return err
		}
		for _, m := range s.Masters {
			if !m.Voter || !m.Alive {
				return fmt.Errorf("master %s: %+v", m.Name, m)
			}
		}
		if s.Nodes["active"] < len(c.agents) || s.Leader == "" {
			return fmt.Errorf("nodes are %v, %q leads", s.Nodes, s.Leader)
		}
		return nil
	})
}

// answers makes an ordinary write and a read, as a user does during an attack.
// A refusal that says when to come back is followed.
func (c *cluster) answers(ctx context.Context, t *testing.T) {
	t.Helper()
	began := time.Now()
	for _, h := range c.masters {
		api := c.own(t, h)
		err := until(ctx, answerLimit, func() error {
			_, err := api.PutApp(ctx, "/ordinary", fmt.Appendf(nil, `{"id": "/ordinary", "cmd": "true # %s", "instances": 0}`, h.Name()), client.Write{Force: true, Replace: true})
			return err
		})
		if err != nil {
			t.Errorf("an ordinary write by %s: %v", h.Name(), err)
		}
		if _, err := api.App(ctx, "/ordinary"); err != nil {
			t.Errorf("an ordinary read from %s: %v", h.Name(), err)
		}
	}
	t.Logf("ordinary requests to all masters took %v", time.Since(began).Round(time.Millisecond))
}

// answersSeen counts answers by status, and those that ought to say when to
// come back and do not.
type answersSeen struct {
	mu     sync.Mutex
	status map[int]int
	bad    []string
}

func (a *answersSeen) add(res *http.Response) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status[res.StatusCode]++
	shed := res.StatusCode == http.StatusServiceUnavailable || res.StatusCode == http.StatusTooManyRequests
	switch {
	case shed && res.Header.Get("Retry-After") == "":
		a.bad = append(a.bad, fmt.Sprintf("%d without Retry-After", res.StatusCode))
	case !shed && res.StatusCode >= 400:
		a.bad = append(a.bad, res.Status)
	}
}

func TestCoreFloodOfProposals(t *testing.T) {
	const writers, apps, body = 1000, 40, 16 << 10
	c := sharedCluster(t)
	seen := &answersSeen{status: map[int]int{}}
	lost := 0
	c.attack(t, func(ctx context.Context) {
		flood, stop := context.WithTimeout(ctx, 15*time.Second)
		defer stop()
		filler := strings.Repeat("x", body)
		var all sync.WaitGroup
		for i := range writers {
			h := c.masters[i%len(c.masters)]
			transport := c.http.Transport.(*http.Transport).Clone()
			transport.TLSHandshakeTimeout = time.Minute
			all.Go(func() {
				defer transport.CloseIdleConnections()
				for n := 0; flood.Err() == nil; n++ {
					id := fmt.Sprintf("/flood/a%d", (i+n)%apps)
					doc := fmt.Sprintf(`{"id": %q, "cmd": "true # %d %d", "instances": 0, "env": {"FILLER": %q}}`, id, i, n, filler)
					res, err := c.raw(flood, transport, http.MethodPut, h, "/service/marathon/v2/apps"+id+"?force=true&partialUpdate=false", doc)
					if err != nil {
						if flood.Err() == nil {
							seen.mu.Lock()
							lost++
							seen.mu.Unlock()
							_ = pause(flood, 100*time.Millisecond) // ends with the flood, as the loop does
						}
						continue
					}
					seen.add(res)
				}
			})
		}
		_ = pause(flood, 3*time.Second) // the flood is at its height
		c.answers(ctx, t)
		all.Wait()
	})
	t.Logf("answers by status: %v, connections lost: %d", seen.status, lost)
	if len(seen.bad) > 0 {
		t.Errorf("%d answers are neither good nor a clear refusal, such as %s", len(seen.bad), seen.bad[0])
	}
	if len(seen.status) == 0 {
		t.Error("nothing was answered")
	}
	c.clear(t)
}

// raw makes one request and reads its answer away.
func (c *cluster) raw(ctx context.Context, by http.RoundTripper, method string, h *hosts.Host, path, body string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, apiURL(h)+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "token="+c.token)
	r.Header.Set("Content-Type", "application/json")
	res, err := by.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	return res, err
}

// many opens connections, as many at once as a patient attacker does, and
// gives those that were let in.
func many(ctx context.Context, n int, open func(ctx context.Context, i int) (net.Conn, error)) (conns []net.Conn, refused int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	turn := make(chan struct{}, 64)
	for i := range n {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			conn, err := open(ctx, i)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				refused++
				return
			}
			conns = append(conns, conn)
		})
	}
	all.Wait()
	return conns, refused
}

func closeAll(conns []net.Conn) {
	for _, conn := range conns {
		_ = conn.Close() // the other end may have been first
	}
}

func TestCoreFloodOfIdleConnections(t *testing.T) {
	const idle = 10_000
	c := sharedCluster(t)
	h := c.mustLeader(t)
	trust := c.http.Transport.(*http.Transport).TLSClientConfig
	c.attack(t, func(ctx context.Context) {
		began := time.Now()
		conns, refused := many(ctx, idle, func(ctx context.Context, i int) (net.Conn, error) {
			port := "8443"
			if i%5 == 4 {
				port = "7444"
			}
			conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(h.IP(), port))
			if err != nil || i%10 != 0 {
				return conn, err // most say nothing at all
			}
			secure := tls.Client(conn, clientTLS(trust, h))
			if err := secure.HandshakeContext(ctx); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			return secure, nil
		})
		defer closeAll(conns)
		t.Logf("%d connections are open and %d were refused after %v", len(conns), refused, time.Since(began).Round(time.Millisecond))
		c.answers(ctx, t)
		_ = pause(ctx, 8*time.Second) // longer than agents need to be missed
		c.answers(ctx, t)
	})
	c.clear(t)
}

func clientTLS(trust *tls.Config, h *hosts.Host) *tls.Config {
	conf := trust.Clone()
	conf.ServerName = h.IP()
	return conf
}

func TestCoreFloodOfSlowConnections(t *testing.T) {
	const slow = 1000
	c := sharedCluster(t)
	h := c.mustLeader(t)
	trust := c.http.Transport.(*http.Transport).TLSClientConfig
	head := "POST /service/marathon/v2/apps HTTP/1.1\r\nHost: " + h.IP() + "\r\nAuthorization: token=" + c.token +
		"\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n"
	c.attack(t, func(ctx context.Context) {
		ctx, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		var ended, still int
		var mu sync.Mutex
		var all sync.WaitGroup
		conns, refused := many(ctx, slow, func(ctx context.Context, _ int) (net.Conn, error) {
			return (&tls.Dialer{NetDialer: dialer, Config: clientTLS(trust, h)}).DialContext(ctx, "tcp", net.JoinHostPort(h.IP(), "8443"))
		})
		defer closeAll(conns)
		for i, conn := range conns {
			all.Go(func() {
				text := head // half of them never end the headers, the others the body
				if i%2 == 0 {
					if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
						return
					}
					text = strings.Repeat(" ", 1000)
				}
				err := trickle(ctx, conn, text)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					ended++
				} else {
					still++
				}
			})
		}
		_ = pause(ctx, 8*time.Second) // longer than agents need to be missed
		c.answers(ctx, t)
		// Those without an end to their headers are ended; the others go on.
		_ = until(ctx, 25*time.Second, func() error {
			mu.Lock()
			defer mu.Unlock()
			if ended < len(conns)/2 {
				return fmt.Errorf("%d were ended", ended)
			}
			return nil
		})
		stop()
		all.Wait()
		t.Logf("%d slow connections, %d refused: %d were ended by the master, %d still trickle", len(conns), refused, ended, still)
		if ended < len(conns)/3 {
			t.Errorf("%d of %d connections that never end their headers were ended", ended, len(conns)/2)
		}
	})
	c.clear(t)
}

// trickle writes a byte every second until ctx ends (nil) or the other side
// has had enough.
func trickle(ctx context.Context, conn net.Conn, text string) error {
	for i := range len(text) {
		if pause(ctx, time.Second) != nil {
			return nil
		}
		if _, err := io.WriteString(conn, text[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}
