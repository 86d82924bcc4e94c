package scheduler

import "github.com/dcos-go/dcos/pkg/dcos"

// Timers is timers for tests.
type Timers struct{ t timers }

func NewTimers() *Timers { return &Timers{newTimers()} }

func (t *Timers) Set(id dcos.AppID, at dcos.Time)      { t.t.set(id, at) }
func (t *Timers) Drop(id dcos.AppID)                   { t.t.drop(id) }
func (t *Timers) Pop(now dcos.Time) (dcos.AppID, bool) { return t.t.pop(now) }
