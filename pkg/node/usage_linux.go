package node

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/container"
	"github.com/dcos-go/dcos/pkg/wire"
)

// usageReader measures what the machine uses, all processes together.
type usageReader struct {
	mu    sync.Mutex
	ticks int64     // guarded by mu; CPU time at the last reading
	at    time.Time // guarded by mu; of the last reading
}

// ticksPerSecond is USER_HZ, which Linux fixes for /proc.
const ticksPerSecond = 100

func (u *usageReader) read(dir string, r *container.Runtime) func(context.Context) (wire.Usage, error) {
	return func(context.Context) (wire.Usage, error) {
		out := wire.Usage{CPUMilli: u.cpu(time.Now())}
		if used, total, ok := memory(); ok {
			out.MemBytes, out.MemTotal = used, total
		}
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err == nil {
			size := func(blocks uint64) int64 { return int64(blocks) * s.Bsize }
			out.DiskTotal, out.DiskBytes = size(s.Blocks), size(s.Blocks-s.Bfree)
		}
		if tasks, err := r.List(); err == nil {
			out.Tasks = int64(len(tasks))
		}
		if b, err := os.ReadFile("/proc/loadavg"); err == nil {
			first, _, _ := bytes.Cut(b, []byte(" "))
			if load, err := strconv.ParseFloat(string(first), 64); err == nil {
				out.LoadMilli = int64(load * 1000)
			}
		}
		return out, nil
	}
}

func (u *usageReader) cpu(now time.Time) int64 {
	ticks, ok := cpuSeconds()
	if !ok {
		return 0
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	before, since := u.ticks, now.Sub(u.at)
	u.ticks, u.at = ticks, now
	if before == 0 || since <= 0 || ticks < before {
		return 0
	}
	return int64(float64(ticks-before) / ticksPerSecond / since.Seconds() * 1000)
}

// memory reads what cannot be given to a new process without swapping.
func memory() (used, total int64, ok bool) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0, false
	}
	var available int64
	for _, line := range bytes.Split(b, []byte("\n")) {
		f := bytes.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, err := strconv.ParseInt(string(f[1]), 10, 64)
		if err != nil {
			continue
		}
		switch string(f[0]) {
		case "MemTotal:":
			total = n << 10
		case "MemAvailable:":
			available = n << 10
		}
	}
	return total - available, total, total > 0
}
