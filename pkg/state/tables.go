package state

import (
	"fmt"
	"io"
	"iter"

	"github.com/tidwall/btree"

	"github.com/dcos-go/dcos/pkg/dcos"
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

type tables struct {
	index dcos.Index
	time  dcos.Time
	hash  uint64

	cluster     dcos.ClusterInfo
	masters     table[dcos.Master]
	nodes       table[dcos.Node]
	apps        table[AppRow]
	tasks       table[dcos.Task]
	deployments table[dcos.Deployment]
	packages    table[dcos.Package]
	users       table[dcos.User]
	tokens      table[dcos.JoinToken]
	audit       table[AuditRow]
}

func newTables() *tables { return &tables{} }

func masterKey(id dcos.MasterID) string { return fmt.Sprintf("%016x", uint64(id)) }

func (t *tables) copy() *tables                                      { c := *t; return &c }
func (t *tables) free(dcos.NodeID) (resource.Set, bool)              { return resource.Set{}, false }
func (t *tables) appAt(dcos.AppID, dcos.Version) (*dcos.App, bool)   { return nil, false }
func (t *tables) appVersions(dcos.AppID) iter.Seq[*dcos.App]         { return func(func(*dcos.App) bool) {} }
func (t *tables) tasksOf(dcos.AppID) iter.Seq[*dcos.Task]            { return func(func(*dcos.Task) bool) {} }
func (t *tables) endedOf(dcos.AppID) iter.Seq[*dcos.Task]            { return func(func(*dcos.Task) bool) {} }
func (t *tables) tasksOn(dcos.NodeID) iter.Seq[*dcos.Task]           { return func(func(*dcos.Task) bool) {} }
func (t *tables) waitingApps() iter.Seq2[dcos.AppID, int]            { return func(func(dcos.AppID, int) bool) {} }
func (t *tables) deploymentOf(dcos.AppID) (*dcos.Deployment, bool)   { return nil, false }
func (t *tables) apply(dcos.Index, []byte) (Commit, []Result, error) { return Commit{}, nil, nil }
func (t *tables) writeSnapshot(io.Writer) error                      { return nil }
func restore(io.Reader) (*Store, error)                              { return nil, nil }
func encodeEntry(at dcos.Time, proposals [][]byte) []byte            { return nil }
func encodeProposal(p Proposal) ([]byte, error)                      { return nil, nil }
