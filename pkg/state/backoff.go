package state

import (
	"github.com/dcos-go/dcos/pkg/dcos"
)

// grow is the delay after one more failure, in integers so that every master
// gets the same: at first the initial delay, then each time the factor, and
// never more than the largest.
func grow(b dcos.Backoff, delay int64) int64 {
	largest := min(max(b.MaxMillis, 0), maxDelayMillis)
	if delay == 0 {
		return min(max(b.InitialMillis, 0), largest)
	}
	factor := int64(max(b.FactorMilli, 1000))
	if delay >= largest*1000/factor {
		return largest
	}
	return delay * factor / 1000
}

// maxDelayMillis is a year; it keeps the arithmetic far from overflow.
const maxDelayMillis = 366 * 24 * 3600 * 1000

// forgotten says that an app did so well for so long that its failures do not
// count any more.
func (b BackoffRow) forgotten(now dcos.Time, rule dcos.Backoff) bool {
	return b.Reference+dcos.Time(min(max(rule.MaxMillis, 0), maxDelayMillis)) < now
}

// sameConfig says whether a task runs the configuration that its app's present
// backoff is about. Scaling keeps it, every other change drops it.
func (x *txn) sameConfig(row *AppRow, k *dcos.Task) bool {
	def, ok := x.t.definition(row, k.Version)
	return ok && def.LastConfigChange == row.App.LastConfigChange
}

// noteFailure records the end of a task that was meant to run. Being lost or
// killed slows nothing down; ending by itself does, also with exit code 0.
func (x *txn) noteFailure(k *dcos.Task) {
	old, ok := x.t.apps.Get(string(k.App))
	if !ok {
		return
	}
	row := *old
	switch k.State {
	case dcos.TaskFailed, dcos.TaskError, dcos.TaskLost:
		row.LastFailure = &LastFailure{
			Task: k.ID, Node: k.Node, State: k.State, Message: k.Message, At: x.t.time, Version: k.Version,
		}
		if n, ok := x.t.nodes.Get(string(k.Node)); ok {
			row.LastFailure.Host = n.Hostname
		}
	}
	switch k.State {
	case dcos.TaskFailed, dcos.TaskError, dcos.TaskFinished:
		if x.sameConfig(old, k) {
			row.Backoff = x.afterFailure(row.Backoff, row.App.Backoff)
		}
	}
	x.setAppRow(old, &row)
}

func (x *txn) afterFailure(b BackoffRow, rule dcos.Backoff) BackoffRow {
	if b.forgotten(x.t.time, rule) {
		b = BackoffRow{}
	}
	b.DelayMillis = grow(rule, b.DelayMillis)
	b.Failures++
	b.Reference = x.t.time
	b.Until = x.t.time + dcos.Time(b.DelayMillis)
	return b
}

// advanceBackoff notes that a task of an app with a delay made progress: the
// delay is forgotten once its largest value has passed from now.
func (x *txn) advanceBackoff(k *dcos.Task) {
	old, ok := x.t.apps.Get(string(k.App))
	if !ok || old.Backoff.Failures == 0 || old.Backoff.Reference == x.t.time || !x.sameConfig(old, k) {
		return
	}
	row := *old
	if row.Backoff.forgotten(x.t.time, row.App.Backoff) {
		row.Backoff = BackoffRow{}
	} else {
		row.Backoff.Reference = x.t.time
	}
	x.setAppRow(old, &row)
}

func (x *txn) resetBackoff(c ResetBackoff) error {
	old, err := x.shown(c.App)
	if err != nil {
		return err
	}
	if old.Backoff != (BackoffRow{}) {
		row := *old
		row.Backoff = BackoffRow{}
		x.setAppRow(old, &row)
	}
	return nil
}
