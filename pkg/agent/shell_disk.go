package agent

import (
	"context"
	"sync"
)

// disker writes the checkpoint. What gathers while the disk works goes out
// together, with one sync.
type disker struct {
	j    Journal
	wake chan struct{} // one is enough: the queue says how much there is

	mu    sync.Mutex
	queue []diskJob // guarded by mu; bounded by what waits in the core for it
}

type diskJob struct {
	seq     uint64
	records [][]byte
	compact bool
}

func newDisker(j Journal) *disker { return &disker{j: j, wake: make(chan struct{}, 1)} }

func (d *disker) put(job diskJob) {
	d.mu.Lock()
	d.queue = append(d.queue, job)
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *disker) take() []diskJob {
	d.mu.Lock()
	defer d.mu.Unlock()
	jobs := d.queue
	d.queue = nil
	return jobs
}

// run writes until ctx ends or the disk fails. What is queued when ctx ends is
// still written: it costs one sync and saves asking again.
func (d *disker) run(ctx context.Context, put func(Event)) {
	for {
		select {
		case <-ctx.Done():
			_, _ = d.write(d.take()) // the process ends; the journal keeps its own error
			return
		case <-d.wake:
		}
		seq, err := d.write(d.take())
		if err != nil {
			put(diskFailed{err: err})
			return
		}
		if seq > 0 {
			put(Checkpointed{Seq: seq})
		}
	}
}

// write makes jobs durable and returns the last one's number.
func (d *disker) write(jobs []diskJob) (uint64, error) {
	var seq uint64
	dirty := false
	for _, job := range jobs {
		var err error
		if job.compact {
			err, dirty = d.j.Compact(job.records), false
		} else {
			err, dirty = d.j.Append(job.records...), true
		}
		if err != nil {
			return 0, err
		}
		seq = job.seq
	}
	if dirty {
		return seq, d.j.Sync()
	}
	return seq, nil
}
