package consensus

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
	"github.com/dcos-go/dcos/pkg/state"
)

func entry(index, term uint64, data string) *pb.Entry {
	return &pb.Entry{Index: &index, Term: &term, Data: []byte(data)}
}

func marker(index, term uint64) *pb.Snapshot {
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: &index, Term: &term, ConfState: &pb.ConfState{Voters: []uint64{1}}}}
}

func hard(term, commit uint64) *pb.HardState {
	return &pb.HardState{Term: &term, Vote: new(uint64(1)), Commit: &commit}
}

func texts(entries []*pb.Entry) string {
	var s []string
	for _, e := range entries {
		s = append(s, string(e.GetData()))
	}
	return strings.Join(s, " ")
}

func TestLogKeepsTheLastWriterOfEachIndex(t *testing.T) {
	fs := journaltest.New(1)
	must(t, Bootstrap(fs, journaltest.New(2), Identity{"c", 1}))
	l, _, err := OpenLog(fs)
	must(t, err)
	must(t, l.Write(Append{Entries: []*pb.Entry{entry(2, 1, "a"), entry(3, 1, "b"), entry(4, 1, "c")}, Hard: hard(1, 2)}))
	must(t, l.Write(Append{Entries: []*pb.Entry{entry(3, 2, "B")}, Hard: hard(2, 2)}))
	must(t, l.Sync())
	fs.Crash()
	l, got, err := OpenLog(fs)
	must(t, err)
	if texts(got.Entries) != "a B" || got.Hard.GetTerm() != 2 || got.Snapshot.GetMetadata().GetIndex() != 1 {
		t.Fatalf("entries %q, hard state %v", texts(got.Entries), got.Hard)
	}
	must(t, l.Write(Append{Entries: []*pb.Entry{entry(4, 2, "C")}}))
	must(t, l.Compact(marker(3, 2)))
	fs.Crash() // Compact is durable by itself
	l, got, err = OpenLog(fs)
	must(t, err)
	if texts(got.Entries) != "C" || got.Snapshot.GetMetadata().GetIndex() != 3 || got.Hard.GetCommit() != 3 {
		t.Fatalf("entries %q, snapshot %v, hard state %v", texts(got.Entries), got.Snapshot, got.Hard)
	}
	must(t, l.Write(Append{Snapshot: marker(9, 3), Hard: hard(3, 9)}))
	_, got, err = OpenLog(fs)
	must(t, err)
	if len(got.Entries) != 0 || got.Snapshot.GetMetadata().GetIndex() != 9 || got.Identity != (Identity{"c", 1}) {
		t.Fatalf("%+v", got)
	}
}

func TestSecondBootstrapAndSecondJoinAreRefused(t *testing.T) {
	fs, snaps := journaltest.New(1), journaltest.New(2)
	must(t, Bootstrap(fs, snaps, Identity{"c", 1}))
	for name, err := range map[string]error{
		"bootstrap": Bootstrap(fs, snaps, Identity{"c", 1}), "other": Bootstrap(fs, snaps, Identity{"d", 2}), "join": Join(fs, Identity{"c", 1}),
	} {
		if !errors.Is(err, dcos.ErrConflict) || !strings.Contains(err.Error(), "cluster c") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Bootstrap(journaltest.New(3), snaps, Identity{"", 1}); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("no cluster: %v", err)
	}
}

func TestWrongOwnerOrEmptyDirectoryDoesNotStart(t *testing.T) {
	fs, snapFS := journaltest.New(1), journaltest.New(2)
	snaps := NewSnapshots(snapFS)
	if _, err := Load(fs, snaps, Identity{"c", 1}); !errors.Is(err, dcos.ErrNotFound) {
		t.Errorf("empty: %v", err)
	}
	must(t, Bootstrap(fs, snapFS, Identity{"c", 1}))
	for _, id := range []Identity{{"d", 1}, {"c", 2}} {
		if _, err := Load(fs, snaps, id); !errors.Is(err, dcos.ErrConflict) {
			t.Errorf("%v: %v", id, err)
		}
	}
	_, err := Load(fs, snaps, Identity{"c", 1})
	must(t, err)
}

func TestBootstrapThroughAnyCrashEndsWithAMember(t *testing.T) {
	for n := range 40 {
		fs, snapFS := journaltest.New(uint64(n)), journaltest.New(uint64(n)+1)
		fs.CrashAfter(n)
		snapFS.CrashAfter(n / 2)
		_ = Bootstrap(fs, snapFS, Identity{"c", 1})
		fs.Crash()
		snapFS.Crash()
		if err := Bootstrap(fs, snapFS, Identity{"c", 1}); err != nil && !errors.Is(err, dcos.ErrConflict) {
			t.Fatalf("%d: %v", n, err)
		}
		if _, err := Load(fs, NewSnapshots(snapFS), Identity{"c", 1}); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
	}
}

func TestDamagedFilesAreNamedWithTheRepair(t *testing.T) {
	build := func() (*journaltest.FS, *journaltest.FS) {
		fs, snapFS := journaltest.New(1), journaltest.New(2)
		must(t, Bootstrap(fs, snapFS, Identity{"c", 1}))
		l, _, err := OpenLog(fs)
		must(t, err)
		must(t, l.Write(Append{Entries: []*pb.Entry{entry(2, 1, "a"), entry(3, 1, "b")}, Hard: hard(1, 3)}))
		must(t, l.Close())
		return fs, snapFS
	}
	fs, _ := build()
	logName := fs.Names()[0]
	_, snapFS := build()
	snapFile := snapFS.Names()[0]
	for _, tt := range []struct {
		name   string
		damage func(fs, snapFS *journaltest.FS)
		file   string
	}{
		{"bit in the log", func(fs, _ *journaltest.FS) { fs.FlipBit(logName, 90*8) }, logName},
		{"bit in the snapshot", func(_, s *journaltest.FS) { s.FlipBit(snapFile, 40*8) }, snapFile},
		{"bit in its hash", func(_, s *journaltest.FS) { s.FlipBit(snapFile, int64(len(s.Bytes(snapFile))*8-1)) }, snapFile},
		{"snapshot cut", func(_, s *journaltest.FS) { b := s.Bytes(snapFile); s.SetBytes(snapFile, b[:len(b)-10]) }, snapFile},
		{"snapshot almost gone", func(_, s *journaltest.FS) { s.SetBytes(snapFile, []byte("dcos")) }, snapFile},
		{"snapshot gone", func(_, s *journaltest.FS) { _ = s.Remove(snapFile) }, snapFile},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs, snapFS := build()
			tt.damage(fs, snapFS)
			_, err := Load(fs, NewSnapshots(snapFS), Identity{"c", 1})
			if !errors.Is(err, journal.ErrDamaged) || !strings.Contains(err.Error(), tt.file) || !strings.Contains(err.Error(), RepairCommand) {
				t.Fatalf("error: %v", err)
			}
		})
	}
}

func TestRecordsThatContradictEachOtherAreDamage(t *testing.T) {
	for _, tt := range []struct {
		name string
		recs [][]byte
	}{
		{"gap", [][]byte{encode(recEntry, entry(2, 1, "a")), encode(recEntry, entry(4, 1, "b"))}},
		{"term falls", [][]byte{encode(recEntry, entry(2, 3, "a")), encode(recEntry, entry(3, 2, "b"))}},
		{"commit beyond the end", [][]byte{encode(recHard, hard(1, 9))}},
		{"unknown kind", [][]byte{[]byte("Zzz")}},
		{"empty", [][]byte{{}}},
		{"garbage", [][]byte{[]byte("E\xff\xff\xff")}},
	} {
		fs := journaltest.New(1)
		must(t, Bootstrap(fs, journaltest.New(2), Identity{"c", 1}))
		j, _, err := journal.Open(fs, journal.Options{})
		must(t, err)
		must(t, j.Append(tt.recs...))
		must(t, j.Close())
		if _, _, err := OpenLog(fs); !errors.Is(err, journal.ErrDamaged) || !strings.Contains(err.Error(), RepairCommand) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestSnapshotFilesAreCheckedOnTheWayIn(t *testing.T) {
	fs := journaltest.New(1)
	s := NewSnapshots(fs)
	body := bytes.Repeat([]byte("state "), 50_000)
	must(t, s.Save(marker(7, 2), func(w io.Writer) error { _, err := w.Write(body); return err }))
	raw, err := s.Raw(7)
	must(t, err)
	file, err := io.ReadAll(raw)
	must(t, err)
	must(t, raw.Close())
	to := NewSnapshots(journaltest.New(2))
	for name, b := range map[string][]byte{"cut": file[:len(file)-1], "longer": append(bytes.Clone(file), 0), "empty": nil, "bit": func() []byte { b := bytes.Clone(file); b[1000] ^= 4; return b }()} {
		if err := to.Receive(7, bytes.NewReader(b)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := to.Receive(8, bytes.NewReader(file)); err == nil {
		t.Error("another index was taken")
	}
	must(t, to.Receive(7, bytes.NewReader(file)))
	var got []byte
	must(t, to.Load(7, func(r io.Reader) (err error) { got, err = io.ReadAll(r); return err }))
	if !bytes.Equal(got, body) {
		t.Fatalf("%d bytes of %d", len(got), len(body))
	}
	must(t, s.Save(marker(9, 2), state.New().View().WriteSnapshot))
	must(t, s.Prune(9))
	if n := fs.Names(); len(n) != 1 || n[0] != snapName(9) {
		t.Fatalf("files after Prune: %v", n)
	}
}

// FuzzMessage feeds a member bytes from a peer. Whatever they are, it must not
// panic, and it must go on.
func FuzzMessage(f *testing.F) {
	for _, m := range []*pb.Message{
		{Type: pb.MsgHeartbeat.Enum(), Term: new(uint64(1))},
		{Type: pb.MsgApp.Enum(), Term: new(uint64(2)), Index: new(uint64(1)), LogTerm: new(uint64(1)), Entries: []*pb.Entry{entry(2, 2, "x")}},
		{Type: pb.MsgVote.Enum(), Term: new(uint64(3)), Index: new(uint64(9)), LogTerm: new(uint64(2))},
		{Type: pb.MsgReadIndex.Enum(), Entries: []*pb.Entry{{Data: []byte("c")}}},
		{Type: pb.MsgSnap.Enum(), Term: new(uint64(4)), Snapshot: marker(5, 2)},
	} {
		m.From, m.To = new(uint64(2)), new(uint64(1))
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		first := marker(1, 1)
		first.Metadata.ConfState.Voters = []uint64{1, 2, 3}
		c, err := NewCore(Config{ID: 1}, Recovered{Identity: Identity{"c", 1}, Snapshot: first})
		must(t, err)
		seq := uint64(0)
		for _, e := range []Event{Tick{}, Received{From: 2, Msg: b}, Tick{}} {
			for _, f := range c.Step(now0, e) {
				if a, ok := f.(Append); ok {
					seq = a.Seq
				}
			}
			c.Step(now0, Appended{Seq: seq})
		}
	})
}

// Found by the simulator: a power cut while a snapshot was read was called a
// damaged file, without its cause.
func TestAReadErrorOfASnapshotKeepsItsCause(t *testing.T) {
	t.Parallel()
	log, dir := journaltest.New(1), journaltest.New(2)
	id := Identity{Cluster: cluster, ID: 1}
	must(t, Bootstrap(log, dir, id))
	for n := range 4 {
		dir.CrashAfter(n)
		if _, err := Load(log, NewSnapshots(dir), id); !errors.Is(err, journaltest.ErrCrashed) {
			t.Errorf("after %d calls of the disk: got %v", n, err)
		}
	}
}
