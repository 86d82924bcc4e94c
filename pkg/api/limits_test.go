package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dcos-go/dcos/pkg/auth"
)

// byName lets everybody in under the name that the request gives.
type byName struct{}

func (byName) Authenticate(r *http.Request) (auth.Principal, error) {
	p := auth.System()
	p.ID, p.Kind = r.Header.Get("Authorization"), auth.KindUser
	if p.ID == "master" {
		p.Kind = auth.KindNode
	}
	return p, nil
}

// slowServer has routes whose requests end when release is closed.
func slowServer(t *testing.T, l Limits) (h *Server, release chan struct{}) {
	t.Helper()
	release = make(chan struct{})
	wait := func(w http.ResponseWriter, _ *http.Request) { <-release; fmt.Fprint(w, "done") }
	route := func(method, pattern string, stream bool) Route {
		return Route{Method: method, Pattern: pattern, Access: LoggedIn, Stream: stream, Handler: wait}
	}
	table, err := NewTable(Dialect{Name: "slow", WriteError: WriteProblem, Routes: []Route{
		route("GET", "/read", false), route("POST", "/write", false), route("GET", "/listen", true),
		{Method: "GET", Pattern: "/ping", Access: Public, Handler: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "pong") }},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Table: table, Auth: byName{}, Log: slog.New(slog.DiscardHandler), Limits: l}), release
}

// flood makes n requests at once and gives their answers once those that are
// refused were, and the others when release was closed.
func flood(h http.Handler, n int, method, path string, who func(i int) string, release chan struct{}) []*httptest.ResponseRecorder {
	out := make([]*httptest.ResponseRecorder, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { out[i] = do(h, method, path, who(i), "{}") })
	}
	<-time.After(queueFor + time.Second) // virtual: those who wait give up
	close(release)
	all.Wait()
	return out
}

func byStatus(t *testing.T, answers []*httptest.ResponseRecorder) map[int]int {
	t.Helper()
	out := map[int]int{}
	for _, a := range answers {
		out[a.Code]++
		if a.Code >= 400 && a.Header().Get("Retry-After") == "" {
			t.Errorf("%d does not say when to come back: %s", a.Code, a.Body)
		}
	}
	return out
}

func TestRequestsBeyondTheLimitAreToldToComeBack(t *testing.T) {
	t.Parallel()
	one := func(int) string { return "alice" }
	for _, tt := range []struct {
		name, method, path string
		who                func(int) string
		good, status       int
	}{
		{"reads", "GET", "/read", one, 4, http.StatusServiceUnavailable},
		{"writes", "POST", "/write", one, 4, http.StatusServiceUnavailable},
		{"stale reads", "GET", "/read?stale=true", one, 4, http.StatusServiceUnavailable},
		{"streams of one user", "GET", "/listen", one, 2, http.StatusTooManyRequests},
		{"streams of many users", "GET", "/listen", func(i int) string { return fmt.Sprint("user-", i) }, 3, http.StatusServiceUnavailable},
		{"a master's own", "GET", "/read", func(int) string { return "master" }, 20, 0},
		{"what is public", "GET", "/ping", one, 20, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h, release := slowServer(t, Limits{Requests: 4, Queue: 3, Streams: 3, StreamsPerUser: 2})
				got := byStatus(t, flood(h, 20, tt.method, tt.path, tt.who, release))
				if got[http.StatusOK] != tt.good || got[tt.status] != 20-tt.good {
					t.Errorf("answers by status: %v, want %d good and the others %d", got, tt.good, tt.status)
				}
				// The places were given back.
				if a := do(h, tt.method, tt.path, "bob", "{}"); a.Code != http.StatusOK {
					t.Errorf("afterwards: %d %s", a.Code, a.Body)
				}
			})
		})
	}
}

func TestAWaitingRequestGetsThePlaceOfOneThatEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, release := slowServer(t, Limits{Requests: 1, Queue: 5})
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				if a := do(h, "GET", "/read", "alice", ""); a.Code != http.StatusOK {
					t.Errorf("answer %d: %s", a.Code, a.Body)
				}
			})
		}
		<-time.After(queueFor / 2)
		close(release)
		all.Wait()
	})
}

func TestReadsAnswerWhileWritesWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, release := slowServer(t, Limits{Requests: 1, Queue: 1})
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { do(h, "POST", "/write", "alice", "{}") })
		}
		synctest.Wait()
		all.Go(func() {
			if a := do(h, "GET", "/read", "alice", ""); a.Code != http.StatusOK {
				t.Errorf("a read beside a flood of writes: %d %s", a.Code, a.Body)
			}
		})
		synctest.Wait()
		close(release)
		all.Wait()
	})
}

func TestABodyThatTricklesHoldsNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, release := slowServer(t, Limits{Requests: 1, Queue: 1})
		close(release)
		slow, feed := io.Pipe()
		var trickle sync.WaitGroup
		trickle.Go(func() {
			r := httptest.NewRequest("POST", "/write", slow)
			r.ContentLength = 100
			h.ServeHTTP(httptest.NewRecorder(), r)
		})
		_, err := feed.Write([]byte("x"))
		if a := do(h, "POST", "/write", "alice", "{}"); err != nil || a.Code != http.StatusOK {
			t.Errorf("a write beside a slow one: %d %s, %v", a.Code, a.Body, err)
		}
		_ = feed.Close() // ends the slow one
		trickle.Wait()
		if n := h.gates.bodies.Load(); n != 0 {
			t.Errorf("%d bytes of bodies are still counted", n)
		}
	})
}

func TestBodiesTogetherAreBounded(t *testing.T) {
	t.Parallel()
	h, release := slowServer(t, Limits{})
	close(release)
	h.gates.bodies.Add(maxBodies)
	a := do(h, "POST", "/write", "alice", "{}")
	if a.Code != http.StatusServiceUnavailable || a.Header().Get("Retry-After") == "" {
		t.Errorf("answer %d: %s", a.Code, a.Body)
	}
	if n := h.gates.bodies.Load(); n != maxBodies {
		t.Errorf("%d bytes are counted, want %d", n, maxBodies)
	}
}

func TestStrangersSendSmallBodiesOnly(t *testing.T) {
	t.Parallel()
	table, err := NewTable(Dialect{Name: "login", WriteError: WriteProblem, Routes: []Route{
		{Method: "POST", Pattern: "/login", Access: Public, Handler: say("in ")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	h := New(Config{Table: table, Auth: byHeader{}, Log: slog.New(slog.DiscardHandler)})
	if a := do(h, "POST", "/login", "", strings.Repeat("x", maxPublicBody)); a.Code != http.StatusOK {
		t.Errorf("a body within the limit: %d", a.Code)
	}
	if a := do(h, "POST", "/login", "", strings.Repeat("x", maxPublicBody+1)); a.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a body over the limit: %d", a.Code)
	}
}

// pipes is a listener over pipes whose far ends have addresses of their own.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)} }

type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

// dial is a client at an address.
func (p *pipes) dial(ip string) net.Conn {
	near, far := net.Pipe()
	p.conns <- from{far, &net.TCPAddr{IP: net.ParseIP(ip), Port: 1000}}
	return near
}

// serving runs a server on limited connections.
func serving(t *testing.T, most, each int) (p *pipes, conns *Conns, release chan struct{}, stop func()) {
	t.Helper()
	h, release := slowServer(t, Limits{})
	p = newPipes()
	conns = LimitConns(p, most, each)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, conns, h, false, slog.New(slog.DiscardHandler)) }()
	return p, conns, release, func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if n := conns.Open(); n != 0 {
			t.Errorf("%d connections are still counted", n)
		}
	}
}

// asks makes a request on a connection and reads its answer.
func asks(c net.Conn, path string) (string, error) {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: alice\r\n\r\n", path); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func ended(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond)) // virtual
	_, err := c.Read(make([]byte, 1))
	var late net.Error
	return err != nil && !(errors.As(err, &late) && late.Timeout())
}

func TestTheLongestIdleConnectionOfAnAddressGivesWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _, release, stop := serving(t, 100, 3)
		defer stop()
		close(release)
		var mine []net.Conn
		for range 3 {
			mine = append(mine, p.dial("192.0.2.7"))
			synctest.Wait()
		}
		// The first two are used, so the third is idle for the longest time.
		for _, c := range mine[:2] {
			if text, err := asks(c, "/read"); err != nil || text != "done" {
				t.Errorf("answer %q, %v", text, err)
			}
		}
		other := p.dial("192.0.2.8")
		next := p.dial("192.0.2.7")
		synctest.Wait()
		if ended(mine[0]) || ended(mine[1]) || !ended(mine[2]) || ended(other) {
			t.Error("another connection than the longest idle one of this address had to give way")
		}
		if text, err := asks(next, "/read"); err != nil || text != "done" {
			t.Errorf("the new connection is answered %q, %v", text, err)
		}
		for _, c := range append(mine, other, next) {
			_ = c.Close()
		}
	})
}

func TestAConnectionWithARequestDoesNotGiveWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _, release, stop := serving(t, 2, 2)
		defer stop()
		var busy sync.WaitGroup
		var mine []net.Conn
		for _, ip := range []string{"192.0.2.7", "192.0.2.8"} {
			c := p.dial(ip)
			mine = append(mine, c)
			busy.Go(func() {
				if text, err := asks(c, "/read"); err != nil || text != "done" {
					t.Errorf("answer %q, %v", text, err)
				}
			})
		}
		synctest.Wait()
		late := p.dial("192.0.2.9")
		synctest.Wait()
		if !ended(late) {
			t.Error("there was room for one more connection than allowed")
		}
		close(release)
		busy.Wait()
		synctest.Wait()
		next := p.dial("192.0.2.9")
		if text, err := asks(next, "/read"); err != nil || text != "done" {
			t.Errorf("with an idle one to give way: %q, %v", text, err)
		}
		for _, c := range append(mine, next) {
			_ = c.Close()
		}
	})
}

func TestASilentConnectionIsEndedAfterSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, conns, release, stop := serving(t, 100, 100)
		defer stop()
		close(release)
		c := p.dial("192.0.2.7")
		start := time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read: %v", err)
		}
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("it was held for %v", took)
		}
		synctest.Wait()
		if n := conns.Open(); n != 0 {
			t.Errorf("%d connections are counted", n)
		}
		_ = c.Close()
	})
}

func TestAnAnswerThatNobodyReadsEndsTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _, release, stop := serving(t, 100, 100)
		defer stop()
		close(release)
		c := p.dial("192.0.2.7")
		if _, err := io.WriteString(c, "GET /read HTTP/1.1\r\nHost: x\r\nAuthorization: alice\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-time.After(writePatience + answerTimeout + time.Second) // virtual; a pipe holds nothing, so the answer waits
		if !ended(c) {
			t.Error("the connection is still open")
		}
		_ = c.Close()
	})
}
