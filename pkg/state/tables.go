package state

import (
	"cmp"
	"fmt"
	"iter"
	"math"

	"github.com/tidwall/btree"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/pages"
	"github.com/dcos-go/dcos/pkg/resource"
)

// table is a copy-on-write B-tree of immutable rows.
type table[T any] struct {
	rows btree.Map[string, *T]
}

// Get is the row under a key.
func (t *table[T]) Get(key string) (*T, bool) { return t.rows.Get(key) }

// All are the rows in the order of their keys.
func (t *table[T]) All() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		t.rows.Scan(func(_ string, row *T) bool { return yield(row) })
	}
}

// copy shares all rows; the first write to either side copies what it touches.
func (t *table[T]) copy() table[T] { return table[T]{*t.rows.Copy()} }

// tables is the whole state. What is above the line is rows: they are hashed
// and written to snapshots. What is below is derived from them, kept up by the
// same functions that write rows, and rebuilt by restore.
type tables struct {
	index dcos.Index
	time  dcos.Time
	sum   rowSum
	// age grows with every copy. What a ledger made since then, nobody else has
	// seen: it may be changed in place.
	age   uint64
	texts dcos.Texts // while a snapshot is read

	cluster      dcos.ClusterInfo
	masters      table[dcos.Master]
	nodes        table[dcos.Node]
	versions     *btree.BTreeG[*dcos.App] // by id, then version
	apps         table[AppRow]
	tasks        pages.Table[dcos.Task]
	deployments  table[dcos.Deployment]
	packages     table[dcos.Package]
	users        table[dcos.User]
	tokens       table[dcos.JoinToken]
	audit        table[AuditRow]
	roles        table[dcos.RoleInfo]
	reservations table[dcos.Reservation]
	volumes      table[dcos.Volume]
	proposers    table[proposerRow]
	done         table[doneRow]
	parts        table[partsRow]
	floors       table[floorRow]

	// ---- derived ----

	numbers    btree.Map[dcos.AppID, uint32] // of apps, for instances; never used again
	lastNumber uint32
	instances  pages.Index               // newest task of each wanted one, by app and ordinal
	ended      *btree.BTreeG[*dcos.Task] // over and done with, by app, newest first
	byEnd      *btree.BTreeG[*dcos.Task] // the same, over all apps, oldest first
	waiting    btree.Map[dcos.AppID, int]
	standing   btree.Map[dcos.AppID, *standing]
	irregular  *btree.BTreeG[*dcos.Task]        // instances that standing does not count, by app and ordinal
	unsettled  btree.Map[dcos.NodeID, struct{}] // see unsettled
	ledger     btree.Map[dcos.NodeID, *holding]
	shrunk     btree.Map[dcos.NodeID, struct{}] // nodes that hold more than they say they have
	servicePts btree.Map[uint16, int]           // service ports in the managed range, with how many definitions name them
	deployOf   btree.Map[dcos.AppID, *dcos.Deployment]

	// of roles, reservations and volumes, see use.go
	roleUse   btree.Map[dcos.RoleID, roleUse]
	reserved  btree.Map[dcos.NodeID, *reservedOn]
	resUse    btree.Map[dcos.ReservationID, reservationUse]
	resByNode *btree.BTreeG[*dcos.Reservation] // by node and id
	volumesOf *btree.BTreeG[*dcos.Volume]      // by reservation and id
}

func newTables() *tables {
	return &tables{
		tasks:     pages.New(func(k *dcos.Task) string { return string(k.ID) }),
		versions:  newTree(lessVersion),
		irregular: newTree(lessInstance),
		ended:     newTree(lessEnded),
		byEnd:     newTree(lessEnd),
		resByNode: newTree(lessReservation),
		volumesOf: newTree(lessVolume),
	}
}

// newTree has no locks: one goroutine writes, and what others read is a copy
// that nobody writes.
func newTree[T any](less func(a, b T) bool) *btree.BTreeG[T] {
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
}

func lessVersion(a, b *dcos.App) bool {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Version, b.Version)) < 0
}

func lessInstance(a, b *dcos.Task) bool {
	if a.App != b.App { // mostly the same text in the same place
		return a.App < b.App
	}
	return a.Ordinal < b.Ordinal
}

func lessEnded(a, b *dcos.Task) bool {
	if c := cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(b.EndedAt, a.EndedAt)); c != 0 {
		return c < 0
	}
	return a.ID < b.ID
}

func lessEnd(a, b *dcos.Task) bool {
	if a.EndedAt != b.EndedAt {
		return a.EndedAt < b.EndedAt
	}
	return a.ID < b.ID
}

func lessReservation(a, b *dcos.Reservation) bool {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.ID, b.ID)) < 0
}

func lessVolume(a, b *dcos.Volume) bool {
	return cmp.Or(cmp.Compare(a.Reservation, b.Reservation), cmp.Compare(a.ID, b.ID)) < 0
}

// copy costs the same at any size.
func (t *tables) copy() *tables {
	t.age++
	c := *t
	c.masters, c.nodes, c.apps, c.tasks = t.masters.copy(), t.nodes.copy(), t.apps.copy(), t.tasks.Copy()
	c.deployments, c.packages, c.users = t.deployments.copy(), t.packages.copy(), t.users.copy()
	c.tokens, c.audit = t.tokens.copy(), t.audit.copy()
	c.roles, c.reservations, c.volumes = t.roles.copy(), t.reservations.copy(), t.volumes.copy()
	c.roleUse, c.reserved, c.resUse = *t.roleUse.Copy(), *t.reserved.Copy(), *t.resUse.Copy()
	c.resByNode, c.volumesOf = t.resByNode.Copy(), t.volumesOf.Copy()
	c.proposers, c.done, c.parts = t.proposers.copy(), t.done.copy(), t.parts.copy()
	c.floors = t.floors.copy()
	c.versions, c.ended = t.versions.Copy(), t.ended.Copy()
	c.numbers, c.instances = *t.numbers.Copy(), t.instances.Copy()
	c.byEnd = t.byEnd.Copy()
	c.standing, c.irregular, c.unsettled = *t.standing.Copy(), t.irregular.Copy(), *t.unsettled.Copy()
	c.waiting, c.ledger, c.shrunk = *t.waiting.Copy(), *t.ledger.Copy(), *t.shrunk.Copy()
	c.servicePts, c.deployOf = *t.servicePts.Copy(), *t.deployOf.Copy()
	return &c
}

func masterKey(id dcos.MasterID) string { return fmt.Sprintf("%016x", uint64(id)) }

func (t *tables) free(id dcos.NodeID) (resource.Set, bool) {
	n, ok := t.nodes.Get(string(id))
	if !ok {
		return resource.Set{}, false
	}
	return n.Total.Minus(t.load(id)), true
}

func (t *tables) appAt(id dcos.AppID, at dcos.Version) (*dcos.App, bool) {
	return t.versions.Get(&dcos.App{ID: id, Version: at})
}

func (t *tables) appVersions(id dcos.AppID) iter.Seq[*dcos.App] {
	return func(yield func(*dcos.App) bool) {
		t.versions.Descend(&dcos.App{ID: id, Version: math.MaxInt64}, func(a *dcos.App) bool {
			return a.ID == id && yield(a)
		})
	}
}

func (t *tables) tasksOf(id dcos.AppID) iter.Seq[*dcos.Task] {
	return func(yield func(*dcos.Task) bool) {
		if n, ok := t.numbers.Get(id); ok {
			t.instances.Of(n, func(s pages.Slot) bool { return yield(t.tasks.At(s)) })
		}
	}
}

func (t *tables) endedOf(id dcos.AppID) iter.Seq[*dcos.Task] {
	return func(yield func(*dcos.Task) bool) {
		t.ended.Ascend(&dcos.Task{App: id, EndedAt: math.MaxInt64}, func(k *dcos.Task) bool {
			return k.App == id && yield(k)
		})
	}
}

func (t *tables) tasksOn(id dcos.NodeID) iter.Seq[*dcos.Task] {
	return func(yield func(*dcos.Task) bool) {
		h, ok := t.ledger.Get(id)
		if !ok {
			return
		}
		for _, s := range h.live {
			if !yield(t.tasks.At(s)) {
				return
			}
		}
	}
}

func (t *tables) waitingApps() iter.Seq2[dcos.AppID, int] {
	return func(yield func(dcos.AppID, int) bool) { t.waiting.Scan(yield) }
}

func (t *tables) deploymentOf(id dcos.AppID) (*dcos.Deployment, bool) { return t.deployOf.Get(id) }
