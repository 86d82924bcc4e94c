package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// statusesPerEntry keeps an entry of the log well below its limit.
const statusesPerEntry = 2000

// million fills the replicated log of a lone master with running tasks through
// the scheduler, takes a snapshot, and opens all of it in a new process.
func million(ctx context.Context, b *bench) (out []figure, err error) {
	dir, sweep, err := workspace()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sweep()) }()
	snapshots, err := b.fillMillion(ctx, dir)
	if err != nil {
		return nil, err
	}
	out = append(out, snapshots)
	var restarts, sizes, cpu []float64
	var peak float64
	for i := range b.rounds {
		b.say("million: open %d of %d", i+1, b.rounds)
		o, err := b.open(ctx, dir)
		if err != nil {
			return out, err
		}
		if o.running != b.million {
			return out, fmt.Errorf("%d tasks ran, %d are there after a restart", b.million, o.running)
		}
		restarts, sizes, peak = append(restarts, o.took.Seconds()), append(sizes, o.rss/1e6), max(peak, o.peak/1e6)
		cpu = append(cpu, o.cpu)
	}
	what := fmt.Sprintf("%d tasks running on %d nodes, state and log of a lone master in a process of its own", b.million, b.nodes)
	restart := spanned("million-restart", restarts, what+"; start of the process to the first linearizable read, all tasks counted")
	restart.cost = &Cost{CPUSeconds: median(cpu)}
	return append(out, restart,
		spanned("million-memory", sizes, what+fmt.Sprintf("; resident after its start; at most %s MB meanwhile", number(peak)))), nil
}

// fillMillion makes the tasks in this process, and takes snapshots of them.
func (b *bench) fillMillion(ctx context.Context, dir string) (snapshots figure, err error) {
	log, err := openDisk(filepath.Join(dir, "raft"))
	if err != nil {
		return snapshots, err
	}
	defer log.Close() // a directory that was read
	snaps, err := openDisk(filepath.Join(dir, "snapshots"))
	if err != nil {
		return snapshots, err
	}
	defer snaps.Close() // as above
	log.delay, snaps.delay = b.delay, b.delay
	if err := consensus.Bootstrap(log, snaps, identity); err != nil {
		return snapshots, fmt.Errorf("make the log: %w", err)
	}
	err = withRaft(ctx, log, snaps, func(ctx context.Context, r *consensus.Raft) error {
		b.say("million: %d tasks", b.million)
		const apps = 50
		specs := make([][]byte, apps)
		for i := range specs {
			specs[i] = fmt.Appendf(nil, `{"id":"/bench/app-%03d","cmd":"exec serve","cpus":0.01,"mem":16,"instances":%d}`, i, b.million/apps)
		}
		if err := fill(ctx, r, b.nodes, specs, b.million/apps*apps); err != nil {
			return err
		}
		if err := startAll(ctx, r); err != nil {
			return err
		}
		snapshots, err = b.snapshots(ctx, r, dir)
		return err
	})
	debug.FreeOSMemory() // what is measured next shares the machine with this process
	return snapshots, err
}

// fill puts nodes and apps into the state and waits until all tasks have a
// place. It asks again and again: there are more changes than a watch keeps.
func fill(ctx context.Context, r *consensus.Raft, nodes int, specs [][]byte, want int) error {
	for _, cmds := range append([][]state.Command{{cluster()}}, farm(nodes)...) {
		if err := propose(ctx, r, cmds...); err != nil {
			return err
		}
	}
	for _, spec := range specs {
		cmd, err := put(spec)
		if err == nil {
			err = propose(ctx, r, cmd)
		}
		if err != nil {
			return err
		}
	}
	return await(ctx, "all places", 500*time.Millisecond, nil, func() (bool, error) { return placed(r.View()) == want, nil })
}

func propose(ctx context.Context, r *consensus.Raft, cmds ...state.Command) error {
	res, err := r.Propose(ctx, state.Origin{}, cmds...)
	if err != nil {
		return fmt.Errorf("propose: %w", err)
	}
	return res.Err()
}

// startAll reports every placed task as running, in the name of its node.
func startAll(ctx context.Context, r *consensus.Raft) error {
	v := r.View()
	var cmds []state.Command
	n := 0
	flush := func() error {
		if n == 0 {
			return nil
		}
		now := cmds
		cmds, n = nil, 0
		return propose(ctx, r, now...)
	}
	for node := range v.Nodes() {
		c := state.TaskStatuses{Node: node.ID}
		for t := range v.TasksOn(node.ID) {
			c.Statuses = append(c.Statuses, dcos.Status{Task: t.ID, Epoch: t.Epoch, Seq: uint64(len(c.Statuses) + 1), State: dcos.TaskRunning, At: v.Time()})
		}
		cmds, n = append(cmds, c), n+len(c.Statuses)
		if n >= statusesPerEntry {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// snapshots writes the state to the disk, several times.
func (b *bench) snapshots(ctx context.Context, r *consensus.Raft, dir string) (figure, error) {
	var took []float64
	var size int64
	var used float64
	for i := range b.rounds {
		b.say("million: snapshot %d of %d", i+1, b.rounds)
		from, cpu := time.Now(), cpuOf(os.Getpid())
		f, err := os.Create(filepath.Join(dir, "saved"))
		if err != nil {
			return figure{}, err
		}
		err = r.WriteSnapshot(ctx, func(dcos.Index) (io.Writer, error) { return f, nil })
		if err == nil {
			err = f.Sync()
		}
		st, serr := f.Stat()
		if err = errors.Join(err, serr, f.Close()); err != nil {
			return figure{}, fmt.Errorf("save a snapshot: %w", err)
		}
		used = float64(cpuOf(os.Getpid())-cpu) / 1e9
		took, size = append(took, time.Since(from).Seconds()), st.Size()
	}
	out := spanned("million-snapshot", took, fmt.Sprintf("%s MB, with its sync", number(float64(size)/1e6)))
	out.cost = &Cost{Fsyncs: 1, Bytes: size, CPUSeconds: used}
	return out, nil
}

type opened struct {
	took      time.Duration
	rss, peak float64
	cpu       float64 // seconds until then
	running   int
}

// open lets a new process read a master's log.
func (b *bench) open(ctx context.Context, dir string) (o opened, err error) {
	cmd := exec.CommandContext(ctx, b.binary, "bench", "open", dir)
	in, err := cmd.StdinPipe() // it ends with it
	if err != nil {
		return o, err
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return o, err
	}
	cmd.Stderr = os.Stderr
	from := time.Now()
	if err := cmd.Start(); err != nil {
		return o, fmt.Errorf("open a log in a new process: %w", err)
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	o.took, o.cpu = time.Since(from), float64(cpuOf(cmd.Process.Pid))/1e9
	if err == nil {
		_, err = fmt.Sscan(line, &o.running)
	}
	if err == nil {
		err = pause(ctx, b.settle)
	}
	if err == nil {
		o.rss, err = kilobytes(cmd.Process.Pid, "status", "VmRSS:")
	}
	if err == nil {
		o.peak, err = kilobytes(cmd.Process.Pid, "status", "VmHWM:")
	}
	if err = errors.Join(err, in.Close(), cmd.Wait()); err != nil {
		return o, fmt.Errorf("open a log in a new process: %w", err)
	}
	return o, nil
}

// OpenLog opens the log of a lone master below dir, prints how many tasks run
// once it can be read, and waits for the end of its input.
func OpenLog(ctx context.Context, dir string, in io.Reader, out io.Writer) error {
	log, err := openDisk(filepath.Join(dir, "raft"))
	if err != nil {
		return err
	}
	defer log.Close() // a directory that was read
	snaps, err := openDisk(filepath.Join(dir, "snapshots"))
	if err != nil {
		return err
	}
	defer snaps.Close() // as above
	r, err := consensus.New(consensus.Options{Identity: identity, Log: log, Snapshots: snaps, Transport: &consensus.Links{}, Logger: slog.New(slog.DiscardHandler), Reserve: 1})
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }() // ends with ctx
	err = func() error {
		v, err := r.Read(ctx)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		running := 0
		for t := range v.Tasks() {
			if t.State == dcos.TaskRunning {
				running++
			}
		}
		if _, err := fmt.Fprintln(out, running); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, in)
		return err
	}()
	stop()
	return errors.Join(err, <-ended)
}
