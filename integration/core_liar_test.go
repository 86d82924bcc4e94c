package integration

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/dcos-go/dcos/integration/hosts"
)

// liar is a machine that joined as an agent and whose certificate is now in
// the hands of somebody who speaks the session protocol by hand.
type liar struct {
	c       *cluster
	host    *hosts.Host
	node    string
	cluster string
	creds   tls.Certificate
}

// newLiar adds a machine, stops its agent and takes its certificate.
func newLiar(t *testing.T, c *cluster) *liar {
	t.Helper()
	h := c.more(t, "liar")[0]
	t.Cleanup(func() {
		if err := h.Destroy(); err != nil {
			t.Error(err)
		}
	})
	if err := c.add(t.Context(), h, false); err != nil {
		t.Fatal(err)
	}
	mustRun(t, h, "systemctl", "disable", "--now", "dcos")
	text, err := h.ReadFile("/var/lib/dcos/agent/agent.pem")
	if err != nil {
		t.Fatal(err)
	}
	id, err := h.ReadFile("/var/lib/dcos/agent/id")
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{c: c, host: h, node: strings.TrimSpace(string(id))}
	if l.creds, err = tls.X509KeyPair(text, text); err != nil {
		t.Fatal(err)
	}
	s, err := c.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.cluster = s.ID
	return l
}

// dial opens a session's connection and waits to be let in.
func (l *liar) dial(ctx context.Context, master *hosts.Host) (net.Conn, error) {
	conf := &tls.Config{
		Certificates: []tls.Certificate{l.creds}, NextProtos: []string{"dcos-agent/1"}, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true, // this side has nothing to lose
	}
	conn, err := (&tls.Dialer{NetDialer: dialer, Config: conf}).DialContext(ctx, "tcp", net.JoinHostPort(master.IP(), "7444"))
	if err != nil {
		return nil, err
	}
	err = conn.SetReadDeadline(time.Now().Add(answerLimit))
	var said [1]byte
	if err == nil {
		_, err = io.ReadFull(conn, said[:])
	}
	if err == nil && said[0] != 1 {
		err = fmt.Errorf("the port says %d", said[0])
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// field appends a protobuf field: an int64 as a varint, a string or bytes as
// such.
func field(b []byte, n protowire.Number, v any) []byte {
	switch v := v.(type) {
	case int64:
		return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
	case string:
		return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
	case []byte:
		return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
	}
	panic(fmt.Sprintf("field of type %T", v))
}

// claim is what a liar says of its machine, in thousandths where the protocol
// has them.
type claim struct {
	cpus, mem, disk, gpus int64
	ports                 [][2]int64
	attributes            int // so many, of 1 kB each
	hostname              string
	possible              bool // no lie that can be told from the truth
}

// hello is the first frame of a session.
func (l *liar) hello(what claim) []byte {
	var set, node, hello []byte
	for n, v := range map[protowire.Number]int64{1: what.cpus, 2: what.mem, 3: what.disk, 4: what.gpus} {
		set = field(set, n, v)
	}
	for _, p := range what.ports {
		set = field(set, 5, field(field(nil, 1, p[0]), 2, p[1]))
	}
	node = field(node, 1, l.node)
	node = field(node, 2, "liar"+what.hostname)
	node = field(field(node, 3, l.host.IP()+":7445"), 4, l.host.IP())
	node = field(field(node, 5, "boot-of-a-liar"), 6, "0.1.0")
	for i := range what.attributes {
		node = field(node, 9, field(field(nil, 1, fmt.Sprintf("a%d", i)), 2, strings.Repeat("x", 1000)))
	}
	node = field(node, 10, set)
	hello = field(field(hello, 1, int64(1)), 2, int64(1))
	hello = field(field(hello, 3, node), 4, l.cluster)
	return frame(field(nil, 1, hello))
}

func frame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// Numbers of the messages that a master answers a hello with.
const (
	numWelcome = 2
	numRefused = 4
)

// answer reads frames until one tells what became of the hello.
func (l *liar) answer(conn net.Conn) (protowire.Number, string, error) {
	if err := conn.SetReadDeadline(time.Now().Add(answerLimit)); err != nil {
		return 0, "", err
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return 0, "", err
	}
	body := make([]byte, min(binary.BigEndian.Uint32(head[:]), 1<<20))
	if _, err := io.ReadFull(conn, body); err != nil {
		return 0, "", err
	}
	n, _, size := protowire.ConsumeTag(body)
	if size < 0 {
		return 0, "", protowire.ParseError(size)
	}
	return n, string(body[size:]), nil
}

// sane says what is wrong with the cluster's sums.
func (c *cluster) sane(ctx context.Context) error {
	s, err := c.status(ctx)
	if err != nil {
		return err
	}
	for name, v := range map[string]float64{
		"cpus": s.Total.CPUs, "mem": s.Total.Mem, "disk": s.Total.Disk, "gpus": float64(s.Total.GPUs),
		"allocated cpus": s.Allocated.CPUs, "allocated mem": s.Allocated.Mem,
	} {
		if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("the cluster has %v %s", v, name)
		}
	}
	return nil
}

func TestCoreAgentsThatLieAboutCapacity(t *testing.T) {
	c := sharedCluster(t)
	l := newLiar(t, c)
	honest := claim{cpus: 4000, mem: 8 << 20, disk: 1 << 20, ports: [][2]int64{{31000, 32000}}, possible: true}
	lies := map[string]claim{
		"an honest one":          honest,
		"all there can be":       {cpus: math.MaxInt64, mem: math.MaxInt64, disk: math.MaxInt64, gpus: math.MaxInt64},
		"less than nothing":      {cpus: -1000, mem: -1, disk: math.MinInt64, gpus: -1},
		"as much as is accepted": {cpus: 1_000_000_000_000, mem: 1_000_000_000_000, disk: 1_000_000_000_000, gpus: 1 << 20, ports: [][2]int64{{1, 65535}}, possible: true},
		"ports of no order":      {cpus: 1000, mem: 1000, ports: [][2]int64{{9, 3}, {1, 70000}, {5, 5}, {4, 6}}},
		"many ports":             {cpus: 1000, mem: 1000, ports: manyPorts(30_000)},
		"a thousand attributes":  {cpus: 1000, mem: 1000, attributes: 1000},
		"a long name":            {cpus: 1000, mem: 1000, hostname: strings.Repeat("n", 1500)},
	}
	c.attack(t, func(ctx context.Context) {
		leader := c.mustLeader(t)
		for name, what := range lies {
			conn, err := l.dial(ctx, leader)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			_, err = conn.Write(l.hello(what))
			n, why, rerr := l.answer(conn)
			if len(why) > 300 {
				why = why[:300]
			}
			t.Logf("%s: %v, answered with message %d %q, %v", name, err, n, why, rerr)
			if name == "an honest one" && n != numWelcome {
				t.Errorf("an honest hello was answered with message %d %q, %v: the lies below show nothing", n, why, rerr)
			}
			if !what.possible && n == numWelcome {
				t.Errorf("%s: it was let in", name)
			}
			if err := c.sane(ctx); err != nil {
				t.Errorf("after %s: %v", name, err)
			}
			_ = conn.Close() // the master may have been first
		}
		// An app finds its place on machines that keep their word.
		app := sleeper("/honest", 3)
		app["constraints"] = onHosts(c.agents...)
		c.create(t, app)
		c.running(t, time.Minute, "/honest", 3)
	})
	c.clear(t)
	c.forget(t, l.host)
}

func manyPorts(n int) [][2]int64 {
	var out [][2]int64
	for i := range n {
		out = append(out, [2]int64{int64(2 * i), int64(2 * i)})
	}
	return out
}

func TestCoreFloodOfFrames(t *testing.T) {
	const sessions, rounds = 100, 8
	c := sharedCluster(t)
	l := newLiar(t, c)
	honest := l.hello(claim{cpus: 4000, mem: 8 << 20, ports: [][2]int64{{31000, 32000}}})
	big := make([]byte, 4<<20)
	for i := range big {
		big[i] = byte(i * 7)
	}
	// A report of as many statuses as fit, all of tasks that are not there.
	var report []byte
	for i := 0; len(report) < 4<<20-100; i++ {
		status := field(field(nil, 1, fmt.Sprintf("t%d", i)), 2, int64(1))
		status = field(field(status, 3, int64(i+1)), 4, int64(4))
		report = field(report, 1, status)
	}
	frames := map[string][]byte{
		"a frame that claims 4 GiB":          {0xff, 0xff, 0xff, 0xff, 1, 2, 3},
		"a frame one byte too long":          append([]byte{0, 0x40, 0, 1}, big...),
		"4 MiB of nonsense":                  frame(big),
		"4 MiB of nothing":                   frame(make([]byte, 4<<20)),
		"half a frame":                       frame(big)[:2<<20],
		"nonsense behind a hello":            append(append([]byte{}, honest...), frame(big)...),
		"4 MiB of statuses behind a hello":   append(append([]byte{}, honest...), frame(field(nil, 6, report))...),
		"nothing at all":                     {},
		"beats without end":                  append(append([]byte{}, honest...), []byte(strings.Repeat(string(frame(field(nil, 8, []byte{}))), 10_000))...),
		"a hello again and again":            []byte(strings.Repeat(string(honest), 50)),
		"half a length":                      {0, 0},
		"a message that no one knows of yet": frame(field(nil, 99, "?")),
	}
	c.attack(t, func(ctx context.Context) {
		ctx, stop := context.WithTimeout(ctx, 30*time.Second)
		defer stop()
		leader := c.mustLeader(t)
		var all sync.WaitGroup
		var mu sync.Mutex
		in, out := 0, 0
		names := make([]string, 0, len(frames))
		for name := range frames {
			names = append(names, name)
		}
		for i := range sessions {
			all.Go(func() {
				for r := 0; r < rounds && ctx.Err() == nil; r++ {
					conn, err := l.dial(ctx, leader)
					mu.Lock()
					if err != nil {
						out++
						mu.Unlock()
						_ = pause(ctx, 200*time.Millisecond) // ends with ctx, as the loop does
						continue
					}
					in++
					mu.Unlock()
					_ = conn.SetDeadline(time.Now().Add(3 * time.Second)) // an open connection takes it
					_, _ = conn.Write(frames[names[(i+r)%len(names)]])    // it is cut off, as it should be
					_, _ = io.Copy(io.Discard, conn)                      // until it is cut off or late
					_ = conn.Close()
				}
			})
		}
		_ = pause(ctx, 2*time.Second) // all of them are at it
		c.answers(ctx, t)
		all.Wait()
		t.Logf("%d connections were let in, %d were not", in, out)
		if in < len(frames) {
			t.Errorf("%d connections were let in: not every frame was seen", in)
		}
	})
	c.clear(t)
	c.forget(t, l.host)
}
