package node

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A master at work may hold as much garbage as live memory, which is the
// runtime's own rule: collecting less often is faster. At rest a third of that
// costs next to nothing, because little is allocated; and what a burst has
// needed is given back to the machine.
const (
	lookAtMemory = time.Second
	workPercent  = 100
	restPercent  = 30
	restRate     = 4 << 20 // bytes allocated in a second, at most
	restLooks    = 2       // so often in a row
)

// tempo tells rest from work by what is allocated.
type tempo struct {
	allocated uint64 // at the last look
	quiet     int    // looks in a row
	resting   bool
}

// look takes the sum of all that was ever allocated, as it is a second after
// the look before. It says whether rest or work has just begun.
func (t *tempo) look(allocated uint64) (changed bool) {
	if allocated-t.allocated > restRate {
		t.quiet = 0
	} else {
		t.quiet++
	}
	t.allocated = allocated
	resting := t.quiet >= restLooks
	changed = resting != t.resting
	t.resting = resting
	return changed
}

// keepMemory sets the pace of the garbage collector until ctx ends, unless the
// operator has set it.
func keepMemory(ctx context.Context) error {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		<-ctx.Done()
		return nil
	}
	defer debug.SetGCPercent(workPercent)
	t := time.NewTicker(lookAtMemory)
	defer t.Stop()
	sum := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var now tempo
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		metrics.Read(sum)
		if !now.look(sum[0].Value.Uint64()) {
			continue
		}
		if now.resting {
			debug.SetGCPercent(restPercent)
			debug.FreeOSMemory()
		} else {
			debug.SetGCPercent(workPercent)
		}
	}
}
