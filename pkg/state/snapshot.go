package state

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// A snapshot is a magic line, a header, all rows table by table in the order
// of their keys, an empty frame, and the SHA-256 of all that. A frame is its
// length as a uvarint and its bytes; a row's frame is its table's number, its
// key (length as a uvarint, empty where the row itself says it), and the row
// in CBOR.
const (
	snapshotMagic  = "dcos state 1\n"
	snapshotFormat = 1
	maxFrame       = 4 << 20
)

// snapshotHeader comes first.
type snapshotHeader struct {
	Format uint64     `cbor:"1,keyasint"`
	Level  uint64     `cbor:"2,keyasint"` // feature level that a reader must have
	Index  dcos.Index `cbor:"3,keyasint"`
	Time   dcos.Time  `cbor:"4,keyasint"`
	Rows   uint64     `cbor:"5,keyasint"`
	Sum    rowSum     `cbor:"6,keyasint"`
}

// snapshotWriter frames and hashes; it keeps the first error.
type snapshotWriter struct {
	out  *bufio.Writer
	hash hash.Hash
	buf  []byte
	err  error
}

func (w *snapshotWriter) write(b []byte) {
	if w.err == nil {
		w.hash.Write(b)
		_, w.err = w.out.Write(b)
	}
}

func (w *snapshotWriter) frame(b []byte) {
	w.write(binary.AppendUvarint(nil, uint64(len(b))))
	w.write(b)
}

// row writes one row; false stops a scan after an error.
func (w *snapshotWriter) row(table Table, key string, row any) bool {
	w.buf = append(w.buf[:0], byte(table))
	w.buf = appendText(w.buf, key)
	w.buf = appendRowTo(w.buf, row)
	w.frame(w.buf)
	return w.err == nil
}

// rowKind is how the rows of one table are written and read.
type rowKind struct {
	table Table
	rows  func(t *tables) int
	// scan gives the rows in order, with the key where the row does not say it.
	scan func(t *tables, yield func(key string, row any) bool)
	// read decodes one row and adds it to t and to its indexes; the rows of
	// the kinds before are there already. Its answer is hashed.
	read func(t *tables, key string, body []byte) (row any, err error)
}

// rowKinds are in the order in which they are written: what a row names comes
// before it.
var rowKinds = []rowKind{
	clusterKind,
	plainKind(TableMasters, func(t *tables) *table[dcos.Master] { return &t.masters },
		func(r *dcos.Master) string { return masterKey(r.ID) }),
	plainKind(TableNodes, func(t *tables) *table[dcos.Node] { return &t.nodes },
		func(r *dcos.Node) string { return string(r.ID) }),
	plainKind(TableRoles, func(t *tables) *table[dcos.RoleInfo] { return &t.roles },
		func(r *dcos.RoleInfo) string { return string(r.ID) }),
	reservationKind,
	volumeKind,
	versionKind,
	appKind,
	taskKind,
	deploymentKind,
	plainKind(TablePackages, func(t *tables) *table[dcos.Package] { return &t.packages },
		func(r *dcos.Package) string { return string(r.App) }),
	plainKind(TableUsers, func(t *tables) *table[dcos.User] { return &t.users },
		func(r *dcos.User) string { return r.ID }),
	plainKind(TableTokens, func(t *tables) *table[dcos.JoinToken] { return &t.tokens },
		func(r *dcos.JoinToken) string { return r.ID }),
	plainKind(TableAudit, func(t *tables) *table[AuditRow] { return &t.audit }, nil),
	plainKind(tableProposers, func(t *tables) *table[proposerRow] { return &t.proposers },
		func(r *proposerRow) string { return proposerKey(r.ID) }),
	plainKind(tableDone, func(t *tables) *table[doneRow] { return &t.done },
		func(r *doneRow) string {
			if !r.valid() {
				return ""
			}
			return doneKey(r.ID.Proposer, r.ID.Seq)
		}),
	plainKind(tableParts, func(t *tables) *table[partsRow] { return &t.parts },
		func(r *partsRow) string { return partsKey(r.ID) }),
	plainKind(tableFloors, func(t *tables) *table[floorRow] { return &t.floors },
		func(r *floorRow) string {
			if !r.valid() {
				return ""
			}
			return versionFloor
		}),
}

func (t *tables) writeSnapshot(to io.Writer) error {
	w := &snapshotWriter{out: bufio.NewWriterSize(to, 256<<10), hash: sha256.New()}
	header := snapshotHeader{Format: snapshotFormat, Level: max(t.cluster.Level, 1), Index: t.index, Time: t.time, Sum: t.sum}
	for _, k := range rowKinds {
		header.Rows += uint64(k.rows(t))
	}
	w.write([]byte(snapshotMagic))
	w.frame(encodeRow(header))
	for _, k := range rowKinds {
		k.scan(t, func(key string, row any) bool { return w.row(k.table, key, row) })
	}
	w.frame(nil)
	w.write(w.hash.Sum(nil))
	if w.err == nil {
		w.err = w.out.Flush()
	}
	if w.err != nil {
		return fmt.Errorf("write snapshot at index %d: %w", t.index, w.err)
	}
	return nil
}

// plainKind is a table whose rows stand for themselves. Without keyOf the key
// is written out.
func plainKind[T any](name Table, of func(*tables) *table[T], keyOf func(*T) string) rowKind {
	return rowKind{
		table: name,
		rows:  func(t *tables) int { return of(t).rows.Len() },
		scan: func(t *tables, yield func(string, any) bool) {
			of(t).rows.Scan(func(key string, row *T) bool {
				if keyOf != nil {
					key = ""
				}
				return yield(key, row)
			})
		},
		read: func(t *tables, key string, body []byte) (any, error) {
			row, err := decodeRow[T](body)
			if err != nil {
				return nil, err
			}
			if keyOf != nil {
				key = keyOf(row)
			}
			return row, appendRow(of(t), key, row)
		},
	}
}

func decodeRow[T any](body []byte) (*T, error) {
	row := new(T)
	return row, decMode.Unmarshal(body, row)
}

// appendRow adds a row whose key must be the highest of its table.
func appendRow[T any](to *table[T], key string, row *T) error {
	if last, _, ok := to.rows.Max(); key == "" || ok && key <= last {
		return fmt.Errorf("key %q is not valid or not in order", key)
	}
	to.rows.Load(key, row)
	return nil
}
