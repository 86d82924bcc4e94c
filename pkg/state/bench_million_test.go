package state

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// cpu is what the process has used of all cores. On a machine with neighbours
// it says more than the time that passed.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memory is a line of /proc/self/status, in bytes: VmRSS now, VmHWM at most.
func memory(line string) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for l := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(l, []byte(line+":")); ok {
			kb, _ := strconv.ParseFloat(string(bytes.Fields(rest)[0]), 64)
			return kb * 1024
		}
	}
	return 0
}

// ring is what a master keeps of the last changes, and with them old rows.
type ring struct {
	commits []Commit
	changes int
}

func (r *ring) add(c Commit) {
	r.commits = append(r.commits, c)
	for r.changes += len(c.Changes); r.changes > 50_000; r.commits = r.commits[1:] {
		r.changes -= len(r.commits[0].Changes)
	}
	if n := len(r.commits) - 9; n >= 0 { // 8,192 changes keep their views
		r.commits[n].View = View{}
	}
}

// load is a master's state at work: it makes batches, applies them, and adds up
// what applying took of its own thread, the collector's help included.
type load struct {
	b     *testing.B
	s     *Store
	index dcos.Index
	kept  ring
	took  time.Duration // processor time of Apply
	most  time.Duration // longest Apply, in processor time
	slow  time.Duration // longest Apply, on the clock
}

func thread() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (l *load) reset() { l.took, l.most, l.slow = 0, 0, 0 }

func (l *load) apply(cmds ...Command) {
	entry := EncodeEntry(epoch0, encode(l.b, Proposal{Commands: cmds}))
	l.index++
	wall, began := time.Now(), thread()
	commit, results, err := l.s.Apply(l.index, entry)
	took := thread() - began
	l.took, l.most, l.slow = l.took+took, max(l.most, took), max(l.slow, time.Since(wall))
	if err != nil || results[0].Items[0].Each != nil {
		l.b.Fatal(err, results[0].Items[0].Each)
	}
	l.kept.add(commit)
}

// place places all waiting tasks, app by app, a thousand at once.
func (l *load) place(nodes int) {
	i := 0
	for row := range l.s.View().Apps() {
		var batch Place
		for k := range l.s.View().TasksOf(row.App.ID) {
			batch.Items = append(batch.Items, Placement{Task: k.ID, Node: dcos.NodeID(fmt.Sprintf("node-%05d", i%nodes)), Ports: []uint16{uint16(2000 + i/nodes)}})
			if i++; len(batch.Items) == 1000 {
				l.apply(batch)
				batch.Items = nil
			}
		}
	}
}

// report says of every live task of some nodes that it is in a state.
func (l *load) report(seq uint64, nodes ...*dcos.Node) {
	var cmds []Command
	n := 0
	for i, node := range nodes {
		c := TaskStatuses{Node: node.ID}
		for k := range l.s.View().TasksOn(node.ID) {
			c.Statuses = append(c.Statuses, dcos.Status{Task: k.ID, Epoch: k.Epoch, Seq: seq, State: dcos.TaskPlaced + dcos.TaskState(seq), At: epoch0})
		}
		cmds, n = append(cmds, c), n+len(c.Statuses)
		if n >= 1000 || i == len(nodes)-1 {
			l.apply(cmds...)
			cmds, n = nil, 0
		}
	}
}

// BenchmarkMillion is a process with a million tasks on 5,000 nodes: placed,
// running, changed on while a snapshot is written, and read back. Run it alone:
//
//	go test -run xxx -bench Million -benchtime 1x ./pkg/state
func BenchmarkMillion(b *testing.B) {
	const tasks, nodes = 1_000_000, 5_000
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(50)) // GOGC=50: half of what is live may be garbage
	for range b.N {
		l := &load{b: b}
		l.s, l.index = loaded(b, tasks, nodes)
		l.place(nodes)
		b.ReportMetric(tasks/l.took.Seconds(), "placements/s")
		l.reset()
		all := slices.Collect(l.s.View().Nodes())
		l.report(1, all...)
		l.report(2, all...)
		b.ReportMetric(2*tasks/l.took.Seconds(), "statuses/s")
		b.ReportMetric(memory("VmHWM")/1e6, "MB-rss-most")
		b.ReportMetric(float64(heap())/1e6, "MB-heap")

		// A snapshot while writes go on.
		l.reset()
		l.report(3, all[:nodes/4]...)
		b.ReportMetric(float64(l.most.Microseconds())/1000, "ms-apply-most-before")
		b.ReportMetric(float64(l.slow.Microseconds())/1000, "ms-apply-longest-before")
		l.reset()
		path := filepath.Join(b.TempDir(), "snapshot")
		view := l.s.View()
		var writer sync.WaitGroup
		var took time.Duration
		writer.Go(func() {
			began := time.Now()
			if err := writeFile(path, view); err != nil {
				b.Error(err)
			}
			took = time.Since(began)
		})
		l.report(3, all[nodes/4:]...)
		writer.Wait()
		b.ReportMetric(took.Seconds(), "s-snapshot-under-writes")
		b.ReportMetric(float64(l.most.Microseconds())/1000, "ms-apply-most-during")
		b.ReportMetric(float64(l.slow.Microseconds())/1000, "ms-apply-longest-during")
		wall, began := time.Now(), cpu()
		if err := writeFile(path, l.s.View()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(wall).Seconds(), "s-snapshot")
		b.ReportMetric((cpu() - began).Seconds(), "cpu-s-snapshot")
		sum := l.s.View().t.sum
		l, view = nil, View{}
		heap()
		readBack(b, path, sum)
	}
}

func readBack(b *testing.B, path string, sum rowSum) {
	b.Helper()
	wall, began := time.Now(), cpu()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	back, err := Restore(f)
	if err != nil || back.View().t.sum != sum {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(wall).Seconds(), "s-restore")
	b.ReportMetric((cpu() - began).Seconds(), "cpu-s-restore")
	if info, err := f.Stat(); err == nil {
		b.ReportMetric(float64(info.Size())/1e6, "MB-snapshot")
	}
}

func writeFile(path string, v View) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := v.WriteSnapshot(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}
