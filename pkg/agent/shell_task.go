package agent

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// How many of each kind of work run at once, and for how long each may.
const (
	pullsMax   = 4
	fetchesMax = 8
	startsMax  = 8
	othersMax  = 32

	pullTimeout    = 20 * time.Minute
	fetchTimeout   = 20 * time.Minute
	startTimeout   = 2 * time.Minute
	adoptTimeout   = time.Minute
	cleanTimeout   = 2 * time.Minute
	waitAgainAfter = time.Second
)

// pool carries out the work of tasks: for each task one piece after the other,
// in order; of each class so many at once.
type pool struct {
	pulls, fetches, starts, others chan struct{} // one per piece of work under way

	mu    sync.Mutex
	lanes map[dcos.TaskID]*lane // guarded by mu; removed when empty
}

// lane is the work of one task.
type lane struct {
	queue  []job              // guarded by pool.mu
	cancel context.CancelFunc // of the piece under way; guarded by pool.mu
}

type job struct {
	class   chan struct{}
	timeout time.Duration
	// urgent work abandons the piece that is under way.
	urgent bool
	do     func(ctx context.Context)
}

func newPool() *pool {
	return &pool{
		pulls: make(chan struct{}, pullsMax), fetches: make(chan struct{}, fetchesMax), starts: make(chan struct{}, startsMax), others: make(chan struct{}, othersMax),
		lanes: make(map[dcos.TaskID]*lane),
	}
}

// add queues a piece of work behind the others of its task.
func (p *pool) add(ctx context.Context, work *sync.WaitGroup, id dcos.TaskID, j job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.lanes[id]; l != nil {
		l.queue = append(l.queue, j)
		if j.urgent {
			l.cancel()
		}
		return
	}
	jctx, cancel := context.WithCancel(ctx)
	l := &lane{queue: []job{j}, cancel: cancel}
	p.lanes[id] = l
	work.Go(func() { p.run(ctx, jctx, id, l) }) // until the lane is empty
}

func (p *pool) run(ctx, jctx context.Context, id dcos.TaskID, l *lane) {
	for {
		p.mu.Lock()
		if len(l.queue) == 0 {
			l.cancel()
			delete(p.lanes, id)
			p.mu.Unlock()
			return
		}
		j := l.queue[0]
		l.queue = l.queue[1:]
		if jctx.Err() != nil {
			jctx, l.cancel = context.WithCancel(ctx)
		}
		p.mu.Unlock()
		p.one(jctx, j)
	}
}

// one does a piece of work when its class has room. Work that was abandoned
// before it began is still called, with an ended context: every piece answers.
func (p *pool) one(ctx context.Context, j job) {
	select {
	case j.class <- struct{}{}:
		defer func() { <-j.class }()
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	j.do(ctx)
}

// taskEffect carries out what is about one task.
func (a *Agent) taskEffect(ctx context.Context, e Effect) {
	add := func(id dcos.TaskID, class chan struct{}, timeout time.Duration, do func(ctx context.Context)) {
		a.jobs.add(ctx, &a.work, id, job{class: class, timeout: timeout, do: do})
	}
	p := a.jobs
	switch e := e.(type) {
	case PullImage:
		add(e.Task, p.pulls, pullTimeout, func(ctx context.Context) { a.pull(ctx, e) })
	case CreateSandbox:
		add(e.Task, p.others, cleanTimeout, func(ctx context.Context) {
			dir, err := a.p.Sandboxes.Create(e.Task, e.User)
			a.put(SandboxReady{Task: e.Task, Dir: dir, Err: err})
		})
	case FetchArtifacts:
		add(e.Task, p.fetches, fetchTimeout, func(ctx context.Context) { a.fetch(ctx, e) })
	case StartProcess:
		add(e.Spec.Task, p.starts, startTimeout, func(jctx context.Context) { a.start(ctx, jctx, e.Spec) })
	case Adopt:
		add(e.Task, p.others, adoptTimeout, func(jctx context.Context) { a.adopt(ctx, jctx, e.Task) })
	case Signal:
		add(e.Task, p.others, adoptTimeout, func(context.Context) { a.signal(e) })
	case Kill:
		add(e.Task, p.others, adoptTimeout, func(context.Context) {
			if err := a.p.Runtime.Kill(e.Task); err != nil {
				a.p.Log.Warn("kill", "task", e.Task, "why", err)
			}
		})
	case ExtendLease:
		a.extend(e)
	case Cleanup:
		a.jobs.add(ctx, &a.work, e.Task, job{class: p.others, timeout: cleanTimeout, urgent: true, do: func(ctx context.Context) {
			err := a.p.Runtime.Remove(ctx, e.Task)
			if err == nil && a.p.Images != nil {
				a.p.Images.Release(e.Task)
			}
			a.put(Cleaned{Task: e.Task, Err: err})
		}})
	case RemoveSandbox:
		add(e.Task, p.others, cleanTimeout, func(context.Context) {
			a.put(SandboxRemoved{Task: e.Task, Err: a.p.Sandboxes.Remove(e.Task)})
		})
	case List:
		a.work.Go(a.list)
	}
}

// extend writes a few bytes per task, in order and before anything else is done.
func (a *Agent) extend(e ExtendLease) {
	f, ok := a.p.Runtime.(Fencer)
	if !ok {
		return
	}
	for _, id := range e.Tasks {
		if err := f.Extend(id, e.Until); err != nil {
			a.p.Log.Warn("a lease was not extended, the task will be ended with it", "task", id, "why", err)
		}
	}
}

func (a *Agent) list() {
	tasks, err := a.p.Runtime.List()
	if err != nil {
		a.put(Listed{Err: err})
		return
	}
	boxes, err := a.p.Sandboxes.List()
	a.put(Listed{Tasks: tasks, Sandboxes: boxes, Err: err})
}

func (a *Agent) pull(ctx context.Context, e PullImage) {
	if a.p.Images == nil {
		a.put(ImageReady{Task: e.Task, Err: fmt.Errorf("%w: this node runs no images", dcos.ErrInvalid)})
		return
	}
	img, err := a.p.Images.Ensure(ctx, e.Task, e.Ref, e.Force)
	if err == nil {
		a.p.Log.Info("image is ready", "task", e.Task, "image", e.Ref, "digest", img.Digest)
	}
	a.put(ImageReady{Task: e.Task, Image: img, Err: err})
}

func (a *Agent) fetch(ctx context.Context, e FetchArtifacts) {
	err := fmt.Errorf("%w: this node fetches nothing", dcos.ErrInvalid)
	if a.p.Fetcher != nil {
		begin := time.Now()
		if err = a.p.Fetcher.Fetch(ctx, e.Dir, e.All); err == nil {
			a.p.Log.Info("artifacts are in the sandbox", "task", e.Task, "artifacts", len(e.All), "took", time.Since(begin))
		}
	}
	a.put(Fetched{Task: e.Task, Err: err})
}

// start starts a task and, once that is told, watches it.
func (a *Agent) start(ctx, jctx context.Context, s dcos.Spec) {
	begin := time.Now()
	pid, err := a.p.Runtime.Start(jctx, s)
	if ctx.Err() != nil {
		return // the agent stops: the next one finds out what became of it
	}
	a.put(Started{Task: s.Task, Pid: pid, Err: err})
	if err != nil {
		a.p.Log.Warn("task not started", "task", s.Task, "why", err)
		return
	}
	a.p.Log.Info("task started", "task", s.Task, "pid", pid, "took", time.Since(begin))
	a.watch(ctx, s.Task)
}

func (a *Agent) adopt(ctx, jctx context.Context, id dcos.TaskID) {
	alive, exit, err := a.p.Runtime.Adopt(jctx, id)
	if ctx.Err() != nil {
		return
	}
	a.put(Adopted{Task: id, Alive: alive, Exit: exit, Err: err})
	if err == nil && alive {
		a.p.Log.Info("task adopted", "task", id)
		a.watch(ctx, id)
	}
}

// watch tells the core when a running task ends.
func (a *Agent) watch(ctx context.Context, id dcos.TaskID) {
	a.work.Go(func() { // until the task or ctx ends
		for {
			exit, err := a.p.Runtime.Wait(ctx, id)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				a.p.Log.Info("task ended", "task", id, "how", exit.String())
				a.put(Exited{Task: id, Exit: exit})
				return
			}
			a.p.Log.Warn("task cannot be watched, will be tried again", "task", id, "why", err)
			pause(ctx, waitAgainAfter)
		}
	})
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (a *Agent) signal(e Signal) {
	sig := e.Sig
	if sig == 0 {
		sig = int(syscall.SIGTERM)
	}
	if err := a.p.Runtime.Signal(e.Task, sig); err != nil {
		a.p.Log.Warn("signal", "task", e.Task, "why", err)
	}
}
