package state

import (
	"fmt"
	"slices"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/pages"
)

// txn is the application of one entry. Every write to a row goes through put
// and remove, which keep the hash and the list of changes.
type txn struct {
	t         *tables
	principal string
	cause     string // the command under way
	changes   []Change
	// removed are the apps forgotten in this entry. An app made anew in the
	// same entry would have the same incarnation, hence the same task ids.
	removed map[dcos.AppID]bool
	serial  uint64 // makes deployments of one entry different
	audited int    // audit rows written in this entry
	// stop is why the process must not go on; nothing of the entry counts.
	stop error
	buf  []byte

	// found is the task that was looked up last, foundAt its slot then.
	found   *dcos.Task
	foundAt pages.Slot
	seen    *pages.Lookup[dcos.Task]
}

func (x *txn) note(name Table, key string, before, after any) {
	var h rowSum
	if before != nil {
		h, x.buf = hashRow(x.buf, name, before)
		x.t.sum.sub(h)
	}
	if after != nil {
		h, x.buf = hashRow(x.buf, name, after)
		x.t.sum.add(h)
	}
	if name == TableNodes {
		b, _ := before.(*dcos.Node)
		a, _ := after.(*dcos.Node)
		x.t.reindexNode(b, a)
	}
	if name < tableProposers {
		x.changes = append(x.changes, Change{Table: name, Key: key, Old: before, New: after, Cause: x.cause, Principal: x.principal})
	}
}

// put writes a row; it must not change afterwards.
func put[T any](x *txn, name Table, in *table[T], key string, row *T) {
	old, had := in.rows.Set(key, row)
	if had {
		x.note(name, key, old, row)
	} else {
		x.note(name, key, nil, row)
	}
}

// remove takes a row away; ok says whether there was one.
func remove[T any](x *txn, name Table, from *table[T], key string) (ok bool) {
	old, had := from.rows.Delete(key)
	if had {
		x.note(name, key, old, nil)
	}
	return had
}

// removeOr is remove for commands: it fails with dcos.ErrNotFound.
func removeOr[T any](x *txn, name Table, from *table[T], key, what string) error {
	if !remove(x, name, from, key) {
		return fmt.Errorf("%w: %s", dcos.ErrNotFound, what)
	}
	return nil
}

// do carries out one command. A command that fails has changed nothing: each
// checks everything before its first write.
func (x *txn) do(c Command) Item {
	if err := x.t.admits(c); err != nil {
		return Item{Err: err}
	}
	switch c := c.(type) {
	case PutApp:
		return x.putApp(c)
	case RestartApp:
		return x.restartApp(c)
	case DeleteApp:
		return x.deleteApp(c)
	case CancelDeployment:
		return x.cancelDeployment(c)
	case RetryTasks:
		return Item{Each: each(c.Tasks, func(id dcos.TaskID) error { return x.retryTask(id, c.Version) })}
	case Place:
		x.changes = slices.Grow(x.changes, len(c.Items))
		return Item{Each: each(c.Items, x.place)}
	case StopTasks:
		return x.stopTasks(c)
	case TaskStatuses:
		x.changes = slices.Grow(x.changes, len(c.Statuses))
		return Item{Each: each(c.Statuses, func(s dcos.Status) error { return x.status(c.Node, s) })}
	case LoseTasks:
		return x.loseTasks(c)
	case All:
		return x.all(c)
	}
	return Item{Err: x.simple(c)}
}

// simple are the commands that answer nothing but an error.
func (x *txn) simple(c Command) error {
	switch c := c.(type) {
	case InitCluster:
		return x.initCluster(c)
	case RaiseLevel:
		return x.raiseLevel(c)
	case PutMaster:
		return x.putMaster(c)
	case RemoveMaster:
		return removeOr(x, TableMasters, &x.t.masters, masterKey(c.ID), "master "+masterKey(c.ID))
	case StartMaster:
		return x.startMaster(c)
	case HoldMaster:
		return x.holdMaster(c)
	case PutGossip:
		return x.putGossip(c)
	case PutNode:
		return x.putNode(c)
	case SetNodeState:
		return x.setNodeState(c)
	case RemoveNode:
		return x.removeNode(c)
	case DrainNode:
		return x.drainNode(c)
	case ActivateNode:
		return x.activateNode(c)
	case RetireNode:
		return x.retireNode(c)
	case ReadmitNode:
		return x.readmitNode(c)
	case RemoveApp:
		return x.removeApp(c)
	case AdvanceDeployment:
		return x.advanceDeployment(c)
	case ResetBackoff:
		return x.resetBackoff(c)
	case AddTasks:
		return x.addTasks(c)
	case PutRole:
		return x.putRole(c)
	case RemoveRole:
		return x.removeRole(c)
	case PutQuota:
		return x.putQuota(c)
	case Reserve:
		return x.reserve(c)
	case Unreserve:
		return x.unreserve(c)
	case CreateVolume:
		return x.createVolume(c)
	case ResizeVolume:
		return x.resizeVolume(c)
	case DestroyVolume:
		return x.destroyVolume(c)
	case PutPackage:
		return x.putPackage(c)
	case RemovePackage:
		return removeOr(x, TablePackages, &x.t.packages, string(c.App), "package of app "+string(c.App))
	case PutUser:
		return x.putUser(c)
	case RemoveUser:
		return removeOr(x, TableUsers, &x.t.users, c.ID, "user "+c.ID)
	case PutToken:
		return x.putToken(c)
	case RemoveToken:
		return removeOr(x, TableTokens, &x.t.tokens, c.ID, "join token "+c.ID)
	}
	return fmt.Errorf("%w: command %T has no meaning here", dcos.ErrInvalid, c)
}

// all applies commands as one. The way back is the copy made before.
func (x *txn) all(c All) Item {
	saved, changes, audited := x.t.copy(), len(x.changes), x.audited
	var out Item
	for i, inner := range c.Commands {
		var got Item
		if _, nested := inner.(All); nested {
			got.Err = fmt.Errorf("%w: all within all", dcos.ErrInvalid)
		} else {
			x.cause = nameOf(inner)
			got = x.do(inner)
		}
		if err := firstError(got); err != nil {
			x.t, x.changes, x.audited = saved, x.changes[:changes], audited
			return Item{Err: fmt.Errorf("%s (part %d of %d): %w", nameOf(inner), i+1, len(c.Commands), err)}
		}
		if got.Deployment != "" {
			out.Deployment = got.Deployment
		}
		if got.Version != 0 {
			out.Version = got.Version
		}
		x.record(inner)
	}
	return out
}

// firstError is what makes All give up: a batch with a failed element fails.
func firstError(i Item) error {
	if i.Err != nil {
		return i.Err
	}
	for _, err := range i.Each {
		if err != nil {
			return err
		}
	}
	return nil
}

// each applies a batch element by element; nil means that all went well.
func each[T any](elements []T, do func(T) error) []error {
	var out []error
	for i, e := range elements {
		if err := do(e); err != nil {
			if out == nil {
				out = make([]error, len(elements))
			}
			out[i] = err
		}
	}
	return out
}

// maxAudit bounds the audit; the oldest rows go first.
const maxAudit = 10_000

// record notes a write of a principal for the audit.
func (x *txn) record(c Command) {
	if x.principal == "" {
		return
	}
	if _, isAll := c.(All); isAll {
		return // its parts are recorded
	}
	key := fmt.Sprintf("%016x.%08x", uint64(x.t.index), x.audited)
	x.audited++
	put(x, TableAudit, &x.t.audit, key, &AuditRow{
		Index: x.t.index, Time: x.t.time, Principal: x.principal, Act: nameOf(c), Subject: subjectOf(c),
	})
	if x.t.audit.rows.Len() > maxAudit {
		oldest, _, _ := x.t.audit.rows.Min()
		remove(x, TableAudit, &x.t.audit, oldest)
	}
}
