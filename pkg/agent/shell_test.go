package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/wire"
)

// node plays everything that an agent works with. Work waits in gate, when
// there is one, until it is let go or its context ends.
type node struct {
	mu      sync.Mutex
	records [][]byte                  // guarded by mu; synced or not
	fail    error                     // guarded by mu: of the journal
	procs   map[dcos.TaskID]chan bool // guarded by mu; closed at the end
	busy    int                       // guarded by mu: pieces of work under way
	most    int                       // guarded by mu: the most there ever were
	removed map[dcos.TaskID]int       // guarded by mu
	dropped int                       // guarded by mu: work whose context ended
	gate    chan bool
	master  chan net.Conn
	waits   int // guarded by mu: calls of Wait that fail
}

func newNode() *node {
	return &node{procs: make(map[dcos.TaskID]chan bool), removed: make(map[dcos.TaskID]int), master: make(chan net.Conn, 16)}
}

func (n *node) Append(recs ...[]byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = append(n.records, recs...)
	return n.fail
}

func (n *node) Sync() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fail
}

func (n *node) Compact(live [][]byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = live
	return n.fail
}

// work counts a piece of work and waits for the gate.
func (n *node) work(ctx context.Context) error {
	n.mu.Lock()
	n.busy++
	n.most = max(n.most, n.busy)
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.busy--
		n.mu.Unlock()
	}()
	if n.gate == nil {
		return nil
	}
	select {
	case <-n.gate:
		return nil
	case <-ctx.Done():
		n.mu.Lock()
		n.dropped++
		n.mu.Unlock()
		return ctx.Err()
	}
}

func (n *node) Release(dcos.TaskID) {}

func (n *node) Ensure(ctx context.Context, _ dcos.TaskID, ref string, _ bool) (dcos.Unpacked, error) {
	return dcos.Unpacked{Digest: ref, Entrypoint: []string{"/x"}}, n.work(ctx)
}

func (n *node) Start(ctx context.Context, s dcos.Spec) (int, error) {
	if s.Kind != dcos.KindImage {
		if err := n.work(ctx); err != nil {
			return 0, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.procs[s.Task] != nil {
		return 0, dcos.ErrConflict
	}
	n.procs[s.Task] = make(chan bool)
	return 1, nil
}

func (n *node) Adopt(_ context.Context, id dcos.TaskID) (bool, *dcos.Exit, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.procs[id] != nil, nil, nil
}

func (n *node) Wait(ctx context.Context, id dcos.TaskID) (dcos.Exit, error) {
	n.mu.Lock()
	p := n.procs[id]
	n.waits--
	left := n.waits
	n.mu.Unlock()
	if left >= 0 {
		return dcos.Exit{}, dcos.ErrUnavailable
	}
	select {
	case <-p:
		return dcos.Exit{Code: 7}, nil
	case <-ctx.Done():
		return dcos.Exit{}, ctx.Err()
	}
}

func (n *node) Signal(id dcos.TaskID, _ int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.procs[id])
	return nil
}

func (n *node) Kill(id dcos.TaskID) error { return n.Signal(id, 9) }

func (n *node) Remove(_ context.Context, id dcos.TaskID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removed[id]++
	delete(n.procs, id)
	return nil
}

func (n *node) List() ([]dcos.TaskID, error) { return nil, nil }

type noBoxes struct{}

func (noBoxes) Create(id dcos.TaskID, _ string) (string, error) { return "/s/" + string(id), nil }
func (noBoxes) Remove(dcos.TaskID) error                        { return nil }
func (noBoxes) List() ([]dcos.TaskID, error)                    { return nil, nil }

// life is one run of an agent and the master's side of its session.
type life struct {
	t    *testing.T
	n    *node
	stop context.CancelFunc
	end  chan error
	conn net.Conn
	mu   sync.Mutex
	got  []string // guarded by mu: "task STATE" and names of messages
	seq  uint64
	held map[dcos.TaskID]dcos.Epoch
}

func (n *node) start(t *testing.T) *life {
	t.Helper()
	a, err := New(config(), Parts{
		Runtime: n, Images: n, Sandboxes: noBoxes{}, Journal: n, Log: slog.New(slog.DiscardHandler),
		Dial: func(context.Context, string) (net.Conn, error) {
			mine, theirs := net.Pipe()
			n.master <- theirs
			return mine, nil
		},
		Probe: func(_ context.Context, addr string) (bool, error) { return addr == "there:1", nil },
	}, n.records)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l := &life{t: t, n: n, stop: cancel, end: make(chan error, 1), held: make(map[dcos.TaskID]dcos.Epoch)}
	go func() { l.end <- a.Run(ctx) }()
	l.conn = <-n.master
	go l.read()
	synctest.Wait()
	l.send(wire.Welcome{Version: 1, Term: 1, BeatMillis: 2000})
	synctest.Wait()
	if !a.Connected() {
		t.Fatal("no session after the welcome")
	}
	full := wire.Assign{Full: true}
	for id, epoch := range l.held {
		full.Keep = append(full.Keep, wire.TaskRef{ID: id, Epoch: epoch})
	}
	l.assign(full)
	return l
}

func (l *life) read() {
	for {
		m, _, err := wire.ReadMsg(l.conn, nil)
		if err != nil {
			return
		}
		l.mu.Lock()
		switch m := m.(type) {
		case wire.Report:
			for _, s := range m.Statuses {
				l.got = append(l.got, fmt.Sprintf("%s %s", s.Task, s.State))
			}
		case wire.Hello:
			l.seq = m.Seq
			for _, r := range m.Tasks {
				l.held[r.ID] = r.Epoch
			}
		default:
			l.got = append(l.got, strings.TrimPrefix(fmt.Sprintf("%T", m), "wire."))
		}
		l.mu.Unlock()
	}
}

func (l *life) send(m wire.Msg) {
	l.t.Helper()
	if err := wire.WriteMsg(l.conn, m); err != nil {
		l.t.Fatal(err)
	}
	synctest.Wait()
}

func (l *life) assign(m wire.Assign) {
	l.seq++
	m.Term, m.Seq = 1, l.seq
	l.send(m)
	synctest.Wait()
}

func (l *life) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, g := range l.got {
		if strings.HasSuffix(g, what) {
			n++
		}
	}
	return n
}

func (l *life) quit() {
	l.t.Helper()
	l.stop()
	if err := <-l.end; err != nil {
		l.t.Errorf("run: %v", err)
	}
	synctest.Wait()
}

func manyLaunches(n int, image string) []dcos.Launch {
	var out []dcos.Launch
	for i := range n {
		l := launch(fmt.Sprintf("i%d._app.1", i), dcos.Epoch(i+1))
		l.Image = image
		if image != "" {
			l.Cmd = ""
		}
		out = append(out, l)
	}
	return out
}

func TestPullsAndStartsAreBounded(t *testing.T) {
	for image, limit := range map[string]int{"": startsMax, "nginx": pullsMax} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode()
			n.gate = make(chan bool)
			l := n.start(t)
			l.assign(wire.Assign{Run: manyLaunches(50, image)})
			if n.most != limit {
				t.Errorf("image %q: %d pieces of work at once, want %d", image, n.most, limit)
			}
			close(n.gate)
			synctest.Wait()
			if got := l.count("TASK_RUNNING"); got != 50 || n.most != limit {
				t.Errorf("image %q: %d tasks run, %d at once, want 50 and %d", image, got, n.most, limit)
			}
			l.quit()
		})
	}
}

func TestStoppedTaskDoesNotWaitForItsImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		n.gate = make(chan bool)
		l := n.start(t)
		l.assign(wire.Assign{Run: manyLaunches(1, "nginx")})
		l.assign(wire.Assign{Stop: []wire.TaskRef{{ID: "i0._app.1", State: dcos.TaskStaging}}})
		if l.count("TASK_KILLED") != 1 || n.dropped != 1 || n.removed["i0._app.1"] != 1 {
			t.Errorf("got %v, %d pulls abandoned, removed %v", l.got, n.dropped, n.removed)
		}
		l.quit()
	})
}

func TestStartCutOffByTheAgentsEndIsDoneAgainByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		n.gate = make(chan bool)
		l := n.start(t)
		l.assign(wire.Assign{Run: manyLaunches(1, "")})
		l.quit()
		if l.count("TASK_FAILED") != 0 || l.count("Bye") != 1 || n.dropped != 1 {
			t.Errorf("got %v, %d starts abandoned; want a bye and no failure", l.got, n.dropped)
		}
		n.gate = nil
		l = n.start(t)
		if l.count("TASK_RUNNING") != 1 {
			t.Errorf("the next agent reports %v, want the task running", l.got)
		}
		if _, ok := l.held["i0._app.1"]; !ok {
			t.Errorf("hello names %v, want the task", l.held)
		}
		l.quit()
	})
}

func TestJournalThatFailsStopsTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		l := n.start(t)
		n.mu.Lock()
		n.fail = errors.New("no space left on device")
		n.mu.Unlock()
		l.assign(wire.Assign{Run: manyLaunches(1, "")})
		if err := <-l.end; err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "start the agent again") {
			t.Errorf("run ended with %v, want the journal's error and what to do", err)
		}
		if len(n.procs) != 0 || l.count("TASK_STAGING") != 0 {
			t.Errorf("%v runs and %v was said although nothing is in the checkpoint", n.procs, l.got)
		}
		l.stop()
	})
}

func TestWatchGoesOnAfterAnErrorAndTheExitIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		n.waits = 3
		l := n.start(t)
		l.assign(wire.Assign{Run: manyLaunches(1, "")})
		if err := n.Kill("i0._app.1"); err != nil {
			t.Fatal(err)
		}
		<-time.NewTimer(5 * waitAgainAfter).C // in the bubble's time
		synctest.Wait()
		if l.count("TASK_FAILED") != 1 {
			t.Errorf("got %v, want the failure", l.got)
		}
		l.quit()
	})
}

func TestProbesForTheMasterAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		l := n.start(t)
		l.send(wire.ProbeAsk{ID: 1, Target: "there:1"})
		l.send(wire.ProbeAsk{ID: 2, Target: "gone:1"})
		if l.count("ProbeAnswer") != 2 {
			t.Errorf("got %v, want two answers", l.got)
		}
		l.quit()
	})
}

func TestMasterThatDoesNotReadIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConn(1)
		mine, theirs := net.Pipe()
		defer theirs.Close()
		ended := make(chan error, 1)
		go func() { ended <- c.carry(t.Context(), mine, func(Event) {}) }()
		for range 2*sendBuffer + 2 {
			c.send(wire.Bye{})
		}
		if err := <-ended; err == nil {
			t.Error("no reason")
		}
	})
}
