package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// locked makes a journaltest.FS usable by the goroutines of a Raft.
type locked struct {
	mu sync.Mutex
	fs *journaltest.FS
}

func (l *locked) with(f func(fs *journaltest.FS)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.fs)
}

func (l *locked) wrap(f journal.File, err error) (journal.File, error) {
	if err != nil {
		return nil, err
	}
	return &lockedFile{l, f}, nil
}

func (l *locked) Create(name string) (journal.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrap(l.fs.Create(name))
}

func (l *locked) Open(name string) (journal.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrap(l.fs.Open(name))
}

func (l *locked) Rename(from, to string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fs.Rename(from, to)
}

func (l *locked) Remove(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fs.Remove(name)
}

func (l *locked) SyncDir() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fs.SyncDir()
}

func (l *locked) List() ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fs.List()
}

func (l *locked) Free() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fs.Free()
}

type lockedFile struct {
	l *locked
	f journal.File
}

func (f *lockedFile) ReadAt(p []byte, off int64) (int, error) {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	return f.f.ReadAt(p, off)
}

func (f *lockedFile) WriteAt(p []byte, off int64) (int, error) {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	return f.f.WriteAt(p, off)
}

func (f *lockedFile) Size() (int64, error) {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	return f.f.Size()
}

func (f *lockedFile) Truncate(n int64) error {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	return f.f.Truncate(n)
}

func (f *lockedFile) Sync() error {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	return f.f.Sync()
}

func (f *lockedFile) Close() error {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	return f.f.Close()
}

// group is members that talk over pipes.
type group struct {
	t  *testing.T
	o  Options
	mu sync.Mutex
	ms map[dcos.MasterID]*runner // guarded by mu; those that run
	fs map[dcos.MasterID][2]*locked
}

type runner struct {
	raft  *Raft
	links *Links
	stop  context.CancelFunc
	done  chan error
}

func newGroup(t *testing.T, o Options) *group {
	o.Core.Tick = 10 * time.Millisecond
	g := &group{t: t, o: o, ms: map[dcos.MasterID]*runner{}, fs: map[dcos.MasterID][2]*locked{}}
	t.Cleanup(func() {
		for id := range g.fs {
			g.stop(id)
		}
	})
	return g
}

func (g *group) get(id dcos.MasterID) *runner {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ms[id]
}

func (g *group) disks(id dcos.MasterID) (log, snaps *locked) {
	if _, ok := g.fs[id]; !ok {
		g.fs[id] = [2]*locked{{fs: journaltest.New(uint64(id))}, {fs: journaltest.New(uint64(id) + 50)}}
	}
	return g.fs[id][0], g.fs[id][1]
}

func (g *group) start(id dcos.MasterID) *runner {
	g.t.Helper()
	o := g.o
	log, snaps := g.disks(id)
	o.Log, o.Snapshots, o.Identity = log, snaps, Identity{cluster, id}
	links := &Links{Dial: func(_ context.Context, to dcos.MasterID) (net.Conn, error) {
		r := g.get(to)
		if r == nil {
			return nil, errors.New("connection refused")
		}
		a, b := net.Pipe()
		go r.links.Serve(b, id) // until the pipe is closed
		return a, nil
	}}
	o.Transport = links
	raft, err := New(o)
	must(g.t, err)
	ctx, stop := context.WithCancel(context.Background())
	r := &runner{raft: raft, links: links, stop: stop, done: make(chan error, 1)}
	g.mu.Lock()
	g.ms[id] = r
	g.mu.Unlock()
	go func() { r.done <- raft.Run(ctx) }() // until stop
	return r
}

func (g *group) stop(id dcos.MasterID) {
	g.mu.Lock()
	r := g.ms[id]
	delete(g.ms, id)
	g.mu.Unlock()
	if r != nil {
		r.stop()
		<-r.done //nolint:errcheck // a member that is stopped may end in any way
	}
}

// kill ends a member as a power failure does.
func (g *group) kill(id dcos.MasterID) {
	log, snaps := g.disks(id)
	log.with((*journaltest.FS).Crash) // from here on the old process writes nothing
	snaps.with((*journaltest.FS).Crash)
	g.stop(id)
}

// boot makes a group of n by bootstrap and joins.
func (g *group) boot(n int) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	log, snaps := g.disks(1)
	must(g.t, Bootstrap(log, snaps, Identity{cluster, 1}))
	g.start(1)
	for id := dcos.MasterID(2); id <= dcos.MasterID(n); id++ {
		log, _ := g.disks(id)
		must(g.t, Join(log, Identity{cluster, id}))
		g.start(id)
		must(g.t, g.retry(ctx, func(r *Raft) error { return r.AddLearner(ctx, id) }))
		must(g.t, g.retry(ctx, func(r *Raft) error { return r.Promote(ctx, id) }))
	}
}

// retry asks the leader until it is not unavailable.
func (g *group) retry(ctx context.Context, f func(*Raft) error) error {
	for {
		l := g.leader(ctx)
		err := f(l)
		if err == nil || !errors.Is(err, dcos.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		pause(ctx, 10*time.Millisecond)
	}
}

// leader waits for a member that is ready to lead.
func (g *group) leader(ctx context.Context) *Raft {
	g.t.Helper()
	for ctx.Err() == nil {
		var moved <-chan struct{}
		g.mu.Lock()
		for _, r := range g.ms {
			l, changed := r.raft.Leadership()
			if l.Ready {
				g.mu.Unlock()
				return r.raft
			}
			moved = changed
		}
		g.mu.Unlock()
		wait, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		select {
		case <-moved:
		case <-wait.Done():
		}
		cancel()
	}
	g.t.Fatal("no leader")
	return nil
}

func token(name string) state.Command {
	return state.PutToken{Token: dcos.JoinToken{ID: name, Role: dcos.RoleAgent, SecretHash: []byte("x")}}
}

func put(ctx context.Context, r *Raft, name string) error {
	res, err := r.Propose(ctx, state.Origin{}, token(name))
	if err != nil {
		return err
	}
	return res.Err()
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestAcknowledgedWritesSurvivePowerFailuresOfRandomMembers(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, Options{Core: Config{SnapshotBytes: 16 << 10}})
	g.boot(3)
	var mu sync.Mutex
	acked := map[string]bool{}
	var writers sync.WaitGroup
	stop := make(chan struct{})
	for w := range 4 {
		writers.Go(func() { // until stop
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("w%d-%d", w, i)
				short, cancel := context.WithTimeout(ctx, time.Second)
				if err := put(short, g.leader(ctx), name); err == nil {
					mu.Lock()
					acked[name] = true
					mu.Unlock()
				}
				cancel()
			}
		})
	}
	enough := func(n int) {
		for ctx.Err() == nil {
			mu.Lock()
			have := len(acked)
			mu.Unlock()
			if have >= n {
				return
			}
			pause(ctx, 5*time.Millisecond)
		}
		t.Error("too few writes")
	}
	for round := range 6 {
		enough((round + 1) * 50)
		id := dcos.MasterID(round%3 + 1)
		if round%2 == 0 {
			id = g.leader(ctx).o.Identity.ID
		}
		g.kill(id)
		enough((round+1)*50 + 25)
		g.start(id)
	}
	close(stop)
	writers.Wait()
	for id := dcos.MasterID(1); id <= 3; id++ {
		var v state.View
		must(t, g.retry(ctx, func(*Raft) (err error) { v, err = g.get(id).raft.Read(ctx); return err }))
		for name := range acked {
			if _, ok := v.Token(name); !ok {
				t.Errorf("member %d has lost %s", id, name)
			}
		}
	}
}

func TestMemberRestartsFromItsFiles(t *testing.T) {
	ctx := testContext(t)
	dir := t.TempDir()
	open := func() Options {
		log, err := journal.Dir(filepath.Join(dir, "log"))
		must(t, err)
		snaps, err := journal.Dir(filepath.Join(dir, "snap"))
		must(t, err)
		t.Cleanup(func() { _ = log.Close(); _ = snaps.Close() })
		return Options{Identity: Identity{cluster, 1}, Log: log, Snapshots: snaps, Transport: &Links{}, Core: Config{Tick: 10 * time.Millisecond, SnapshotBytes: 4 << 10}}
	}
	o := open()
	must(t, Bootstrap(o.Log, o.Snapshots, o.Identity))
	for life := range 3 {
		r, err := New(open())
		must(t, err)
		run, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- r.Run(run) }() // until stop
		for l, changed := r.Leadership(); !l.Ready; l, changed = r.Leadership() {
			<-changed
		}
		for i := range 100 {
			must(t, put(ctx, r, fmt.Sprintf("l%d-%d", life, i)))
		}
		v, err := r.Read(ctx)
		must(t, err)
		n := 0
		for range v.Tokens() {
			n++
		}
		if s := r.Stats(); n != 100*(life+1) || s.Log.Fsyncs < 100 || s.Leader != 1 || s.Applied == 0 {
			t.Fatalf("life %d: %d tokens, stats %+v", life, n, s)
		}
		stop()
		must(t, <-done)
		if err := put(ctx, r, "late"); !errors.Is(err, dcos.ErrUnavailable) {
			t.Fatalf("after the end: %v", err)
		}
	}

	// Damage is refused with the file's name and what to do.
	files, err := os.ReadDir(filepath.Join(dir, "log"))
	must(t, err)
	name := files[0].Name()
	b, err := os.ReadFile(filepath.Join(dir, "log", name))
	must(t, err)
	b[70] ^= 1
	must(t, os.WriteFile(filepath.Join(dir, "log", name), b, 0o600))
	_, err = New(open())
	if !errors.Is(err, journal.ErrDamaged) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), RepairCommand) {
		t.Fatalf("damaged log: %v", err)
	}
}

func TestFollowersForwardReadsAndNameTheLeader(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, Options{})
	g.boot(3)
	l := g.leader(ctx)
	must(t, put(ctx, l, "seen"))
	for id := dcos.MasterID(1); id <= 3; id++ {
		r := g.get(id).raft
		v, err := r.Read(ctx)
		must(t, err)
		if _, ok := v.Token("seen"); !ok {
			t.Fatalf("member %d reads without what was acknowledged", id)
		}
		if r == l {
			continue
		}
		var nl dcos.NotLeader
		if err := put(ctx, r, "x"); !errors.As(err, &nl) || nl.Leader != l.o.Identity.ID {
			t.Fatalf("member %d answers %v", id, err)
		}
	}
	must(t, l.Transfer(ctx, 0))
	must(t, g.retry(ctx, func(r *Raft) error { return put(ctx, r, "after") }))
}

func TestLargeProposalTravelsInParts(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, Options{})
	g.boot(1)
	r := g.leader(ctx)
	var cmds []state.Command
	for i := range 1500 {
		cmds = append(cmds, state.PutToken{Token: dcos.JoinToken{ID: fmt.Sprint("t", i), Role: dcos.RoleAgent, SecretHash: make([]byte, 500)}})
	}
	res, err := r.Propose(ctx, state.Origin{}, cmds...)
	must(t, err)
	must(t, res.Err())
	if len(res.Items) != 1500 {
		t.Fatalf("%d answers for 1500 commands", len(res.Items))
	}
	if _, err := r.Propose(ctx, state.Origin{}, append(cmds, cmds...)...); !errors.Is(err, dcos.ErrInvalid) {
		t.Fatalf("more than the limit: %v", err)
	}
}

func TestWatchResumesFromAnIndexOrSaysReset(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, Options{RingChanges: 100})
	g.boot(1)
	r := g.leader(ctx)
	from := r.View().Index()
	seq, err := r.Watch(ctx, from)
	must(t, err)
	for i := range 30 {
		must(t, put(ctx, r, fmt.Sprint("t", i)))
	}
	var at []dcos.Index
	for c, err := range seq {
		must(t, err)
		if _, ok := c.View.Token(fmt.Sprint("t", len(at))); !ok || len(c.Changes) == 0 {
			t.Fatalf("commit %d: its view lacks its change", c.Index)
		}
		if at = append(at, c.Index); len(at) == 30 {
			break
		}
	}
	seq, err = r.Watch(ctx, at[9])
	must(t, err)
	for c, err := range seq {
		must(t, err)
		if c.Index != at[10] {
			t.Fatalf("resumed at %d, want %d", c.Index, at[10])
		}
		break
	}
	for i := range 100 {
		must(t, put(ctx, r, fmt.Sprint("u", i)))
	}
	if _, err := r.Watch(ctx, from); !errors.Is(err, dcos.ErrReset) {
		t.Fatalf("watch from %d: %v", from, err)
	}
	// A reader that falls behind is told as well.
	for _, err := range seq {
		if !errors.Is(err, dcos.ErrReset) {
			t.Fatalf("slow reader got %v", err)
		}
		break
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	g := newGroup(t, Options{})
	g.boot(1)
	ctx, cancel := context.WithCancel(testContext(t))
	seq, err := g.leader(ctx).Watch(ctx, 1<<40)
	must(t, err)
	cancel()
	for _, err := range seq {
		t.Fatalf("a commit from the future, %v", err)
	}
}

func TestFailedWriteEndsTheMemberWithTheReason(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, Options{})
	g.boot(1)
	r := g.get(1)
	g.leader(ctx)
	log, _ := g.disks(1)
	log.with(func(fs *journaltest.FS) {
		fs.FailNth(journaltest.OpSync, 1, errors.New("input/output error"))
	})
	err := put(ctx, r.raft, "x")
	if !errors.Is(err, dcos.ErrUnknown) {
		t.Fatalf("answer %v, want unknown", err)
	}
	if err := <-r.done; err == nil || !strings.Contains(err.Error(), "input/output error") {
		t.Fatalf("Run ended with %v", err)
	}
	r.done <- nil // for the cleanup
}

func TestCallerThatGivesUpLearnsThatTheOutcomeIsUnknown(t *testing.T) {
	g := newGroup(t, Options{})
	g.boot(3)
	ctx := testContext(t)
	l := g.leader(ctx)
	for id := dcos.MasterID(1); id <= 3; id++ {
		if id != l.o.Identity.ID {
			g.stop(id)
		}
	}
	short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancel()
	if err := put(short, l, "x"); !errors.Is(err, dcos.ErrUnknown) {
		t.Fatalf("answer %v", err)
	}
}

func BenchmarkPropose(b *testing.B) {
	for _, callers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) { benchPropose(b, callers) })
	}
}

// benchPropose counts proposals that are fsynced and applied by one master on a
// real directory.
func benchPropose(b *testing.B, callers int) {
	dir := b.TempDir()
	log, err := journal.Dir(filepath.Join(dir, "log"))
	must(b, err)
	defer log.Close()
	snaps, err := journal.Dir(filepath.Join(dir, "snap"))
	must(b, err)
	defer snaps.Close()
	id := Identity{cluster, 1}
	must(b, Bootstrap(log, snaps, id))
	r, err := New(Options{Identity: id, Log: log, Snapshots: snaps, Transport: &Links{}})
	must(b, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }() // until stop
	for l, changed := r.Leadership(); !l.Ready; l, changed = r.Leadership() {
		<-changed
	}
	before := r.Stats().Log.Fsyncs
	b.ResetTimer()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := c; i < b.N; i += callers {
				if err := put(ctx, r, fmt.Sprint("t", i%10_000)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(r.Stats().Log.Fsyncs-before)/float64(b.N), "fsyncs/op")
	stop()
	must(b, <-done)
}

// hanging is a directory whose files do not answer Sync while stuck is open.
type hanging struct {
	journal.FS
	mu    sync.Mutex
	stuck chan struct{} // nil: answers; guarded by mu
}

type hangingFile struct {
	journal.File
	h *hanging
}

func (h *hanging) Create(name string) (journal.File, error) {
	f, err := h.FS.Create(name)
	return &hangingFile{f, h}, err
}

func (h *hanging) Open(name string) (journal.File, error) {
	f, err := h.FS.Open(name)
	return &hangingFile{f, h}, err
}

func (f *hangingFile) Sync() error {
	f.h.mu.Lock()
	stuck := f.h.stuck
	f.h.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	return f.File.Sync()
}

func TestRunEndsWhenTheDiskHangsForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &hanging{FS: &locked{fs: journaltest.New(1)}}
		snaps := &locked{fs: journaltest.New(2)}
		id := Identity{cluster, 1}
		must(t, Bootstrap(log, snaps, id))
		r, err := New(Options{Identity: id, Log: log, Snapshots: snaps, Transport: &Links{}})
		must(t, err)
		done := make(chan error, 1)
		go func() { done <- r.Run(context.Background()) }() // until the disk hangs
		synctest.Wait()
		must(t, put(context.Background(), r, "before"))
		stuck := make(chan struct{})
		log.mu.Lock()
		log.stuck = stuck
		log.mu.Unlock()
		from := time.Now()
		if err := put(context.Background(), r, "x"); !errors.Is(err, dcos.ErrUnknown) {
			t.Errorf("answer %v", err)
		}
		if err := <-done; err == nil || !strings.Contains(err.Error(), "has not answered") {
			t.Errorf("Run ended with %v", err)
		}
		if took := time.Since(from); took < 59*time.Second || took > 70*time.Second {
			t.Errorf("it took %v", took)
		}
		close(stuck)
	})
}
