package scheduler_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a real store behind Proposer, Feed and Leadership, with faults.
type cluster struct {
	mu      sync.Mutex
	store   *state.Store
	index   dcos.Index
	log     []state.Commit
	grown   chan struct{} // closed and replaced at every commit
	fault   func(n int) (apply bool, err error)
	batches int // proposed by the scheduler
	flying  int
	most    int // batches in flight at once
	reset   bool
	refuse  bool // the next batch comes to nothing

	terms chan context.Context
}

func newCluster() *cluster {
	c := &cluster{store: state.New(), grown: make(chan struct{}), terms: make(chan context.Context)}
	c.fault = func(int) (bool, error) { return true, nil }
	c.commit("test", state.InitCluster{Info: dcos.ClusterInfo{ID: "5ee70a5c-0000-4000-8000-000000000001", Name: "test", Level: state.Level}})
	return c
}

func (c *cluster) commit(by string, cmds ...state.Command) state.Result {
	p, err := state.EncodeProposal(state.Proposal{Principal: by, Commands: cmds})
	if err != nil {
		panic(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	commit, results, err := c.store.Apply(c.index, state.EncodeEntry(dcos.TimeOf(time.Now()), p))
	if err != nil {
		panic(err)
	}
	c.log = append(c.log, commit)
	if len(commit.Changes) == 0 {
		return results[0] // as the real feed, which does not speak of it
	}
	close(c.grown)
	c.grown = make(chan struct{})
	return results[0]
}

func (c *cluster) Propose(ctx context.Context, _ state.Origin, cmds ...state.Command) (state.Result, error) {
	c.mu.Lock()
	c.batches++
	c.flying++
	c.most = max(c.most, c.flying)
	apply, err := c.fault(c.batches)
	if c.refuse {
		c.refuse = false
		for i := range cmds {
			cmds[i] = state.RemoveUser{ID: "nobody"} // refused, changes nothing
		}
	}
	c.mu.Unlock()
	defer func() { c.mu.Lock(); c.flying--; c.mu.Unlock() }()
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
		return state.Result{}, fmt.Errorf("propose: %w", dcos.ErrUnknown)
	}
	if !apply {
		return state.Result{}, err
	}
	return c.commit("", cmds...), err
}

func (c *cluster) View() state.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store.View()
}

func (c *cluster) Read(context.Context) (state.View, error) { return c.View(), nil }

func (c *cluster) Watch(ctx context.Context, from dcos.Index) (iter.Seq2[state.Commit, error], error) {
	return func(yield func(state.Commit, error) bool) {
		for ctx.Err() == nil {
			c.mu.Lock()
			grown, reset := c.grown, c.reset
			c.reset = false
			news := c.log[from:]
			c.mu.Unlock()
			if reset {
				yield(state.Commit{}, dcos.ErrReset)
				return
			}
			for _, commit := range news {
				from = commit.Index
				if len(commit.Changes) > 0 && !yield(commit, nil) {
					return
				}
			}
			select {
			case <-grown:
			case <-ctx.Done():
			}
		}
	}, nil
}

func (c *cluster) Lead(ctx context.Context) (context.Context, error) {
	select {
	case term := <-c.terms:
		return term, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lead begins a term that ends with the function given back.
func (c *cluster) lead(ctx context.Context) context.CancelFunc {
	term, end := context.WithCancel(ctx)
	c.terms <- term
	return end
}

func (c *cluster) define(t *testing.T, instances int) {
	t.Helper()
	a, err := app.Parse([]byte(fmt.Sprintf(`{"id":"/web","cmd":"serve","cpus":1,"mem":10,"instances":%d}`, instances)))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.commit("user", state.PutApp{App: a, Force: true}).Err(); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) placed() int {
	n := 0
	for t := range c.View().TasksOf("/web") {
		if t.Live() {
			n++
		}
	}
	return n
}

// run starts a scheduler in a bubble and stops it at the end.
func run(t *testing.T, c *cluster, story func(ctx context.Context)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- scheduler.NewScheduler(c, c, c, slog.New(slog.DiscardHandler)).Run(ctx)
	}()
	story(ctx)
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run ended with %v", err)
	}
	if c.most > 1 {
		t.Errorf("%d batches were in flight at once", c.most)
	}
}

// pass lets time of the bubble's clock pass.
func pass(d time.Duration) { <-time.After(d) }

func TestSchedulerPlacesWhileItLeadsAndRestsOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.commit("", state.PutNode{Node: node(0, 64)})
		run(t, c, func(ctx context.Context) {
			c.define(t, 3)
			pass(time.Second)
			if c.placed() != 0 {
				t.Error("it placed tasks without leading")
			}
			end := c.lead(ctx)
			pass(time.Second)
			if c.placed() != 3 {
				t.Errorf("%d tasks placed, want 3", c.placed())
			}
			end()
			synctest.Wait()
			c.define(t, 5)
			pass(time.Second)
			if c.placed() != 3 {
				t.Error("it placed tasks after its term")
			}
			defer c.lead(ctx)()
			pass(time.Second)
			if c.placed() != 5 {
				t.Errorf("%d tasks placed in the second term, want 5", c.placed())
			}
		})
	})
}

func TestSchedulerConvergesThroughUnknownOutcomesAndLostFeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.commit("", state.PutNode{Node: node(0, 64)})
		c.fault = func(n int) (bool, error) {
			switch n % 5 {
			case 1: // applied, but the answer is lost
				return true, fmt.Errorf("propose: %w", dcos.ErrUnknown)
			case 2:
				return false, fmt.Errorf("propose: %w", dcos.ErrUnknown)
			case 3:
				return false, fmt.Errorf("propose: %w", dcos.ErrUnavailable)
			case 4:
				c.reset = true
			}
			return true, nil
		}
		run(t, c, func(ctx context.Context) {
			defer c.lead(ctx)()
			for i := 1; i <= 8; i++ {
				c.define(t, 4*i)
				pass(10 * time.Second)
				if c.placed() != 4*i {
					t.Errorf("%d tasks placed, want %d", c.placed(), 4*i)
				}
			}
		})
	})
}

func TestSchedulerWakesByItselfWhenABackoffEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.commit("", state.PutNode{Node: node(0, 64)})
		run(t, c, func(ctx context.Context) {
			defer c.lead(ctx)()
			c.define(t, 1)
			pass(time.Second)
			for task := range c.View().TasksOf("/web") {
				c.commit("", state.TaskStatuses{Node: task.Node, Statuses: []dcos.Status{{Task: task.ID, Epoch: task.Epoch, Seq: 1, State: dcos.TaskFailed}}})
			}
			pass(500 * time.Millisecond)
			if c.placed() != 0 {
				t.Error("placed before its backoff of 1 s ended")
			}
			pass(time.Second)
			if c.placed() != 1 {
				t.Error("not placed after its backoff")
			}
			before := c.batches
			pass(time.Hour)
			if c.batches != before {
				t.Errorf("%d batches in an idle hour", c.batches-before)
			}
		})
	})
}

func TestSchedulerTriesAgainWhenABatchCameToNothingOnAQuietCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.commit("", state.PutNode{Node: node(0, 64)})
		c.define(t, 2)
		c.refuse = true
		run(t, c, func(ctx context.Context) {
			defer c.lead(ctx)()
			pass(time.Second)
			if c.refuse || c.placed() != 2 {
				t.Errorf("%d tasks placed after a refused batch, want 2", c.placed())
			}
		})
	})
}

// over is a Leadership whose terms are over when they are given, and that does
// not look at the context of who waits.
type over struct {
	*cluster
	asked int
}

func (o *over) Lead(context.Context) (context.Context, error) {
	o.asked++
	term, end := context.WithCancel(context.Background())
	end()
	return term, nil
}

// A scheduler that was given terms without end used to take a whole processor.
func TestSchedulerDoesNotSpinOverTermsThatAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &over{cluster: newCluster()}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- scheduler.NewScheduler(o, o, o, slog.New(slog.DiscardHandler)).Run(ctx) }()
		pass(time.Second)
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
		if o.asked > 20 {
			t.Errorf("it asked to lead %d times within a second", o.asked)
		}
	})
}
