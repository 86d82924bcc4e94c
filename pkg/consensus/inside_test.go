package consensus

import (
	"encoding/binary"
	"errors"
	"testing"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
)

// lone is a core of three voters that nobody talks to.
func lone(t *testing.T) *Core {
	first := marker(1, 1)
	first.Metadata.ConfState.Voters = []uint64{1, 2, 3}
	c, err := NewCore(Config{ID: 1, Nonce: 7}, Recovered{Identity: Identity{"c", 1}, Snapshot: first, Hard: hard(1, 1)})
	must(t, err)
	return c
}

func TestSnapshotThatSkipsAProposalLeavesItsOutcomeUnknown(t *testing.T) {
	c := lone(t)
	c.waiters = []waiter{{index: 5, term: 2, tickets: []Ticket{11}}, {index: 12, term: 2, tickets: []Ticket{12}}}
	c.install(marker(9, 3))
	var u Unknown
	if r, ok := c.out[0].(Resolved); !ok || r.Ticket != 11 || !errors.As(r.Err, &u) || u.Index != 5 {
		t.Fatalf("first effect %+v", c.out[0])
	}
	if len(c.waiters) != 1 || c.waiters[0].index != 12 {
		t.Fatalf("waiters %+v", c.waiters)
	}
}

func TestBatchThatASnapshotOvertookChangesNothing(t *testing.T) {
	c := lone(t)
	c.applies.out = []*pb.Entry{entry(2, 1, "a"), entry(3, 1, "b")}
	c.applies.queue = []*pb.Entry{entry(4, 1, "c")}
	c.install(marker(9, 3))
	c.appliedEntries(Applied{Index: 3})
	if c.applies.index != 9 || c.applies.term != 3 || len(c.applies.queue) != 0 || len(c.applies.out) != 0 {
		t.Fatalf("applied %d in term %d, %d queued", c.applies.index, c.applies.term, len(c.applies.queue))
	}
}

func TestAnswerToAnEarlierLifesReadIsIgnored(t *testing.T) {
	c := lone(t)
	c.reads.asked = []read{{ticket: 1, until: 99, round: 1}}
	c.reads.round, c.reads.pending = 1, true
	ctx := func(nonce, id, round uint64) []byte {
		b := binary.BigEndian.AppendUint64(nil, nonce)
		b = binary.BigEndian.AppendUint64(b, id)
		return binary.BigEndian.AppendUint64(b, round)
	}
	for _, b := range [][]byte{ctx(6, 1, 1), ctx(7, 2, 1), ctx(7, 1, 0), nil} {
		c.readConfirmed(raft.ReadState{Index: 1, RequestCtx: b})
		if len(c.reads.asked) != 1 || len(c.out) != 0 {
			t.Fatalf("context %x was taken for an answer", b)
		}
	}
	c.readConfirmed(raft.ReadState{Index: 1, RequestCtx: ctx(7, 1, 1)})
	if r, ok := c.out[0].(ReadOK); !ok || r.Ticket != 1 {
		t.Fatalf("effects %v", c.out)
	}
}

func TestSnapshotOfTheLeaderReplacesTheWholeLog(t *testing.T) {
	fs := journaltest.New(1)
	must(t, Bootstrap(fs, journaltest.New(2), Identity{"c", 1}))
	l, _, err := OpenLog(fs)
	must(t, err)
	must(t, l.Write(Append{Entries: []*pb.Entry{entry(2, 1, "a"), entry(3, 1, "b"), entry(4, 1, "wrong")}, Hard: hard(1, 2)}))
	must(t, l.Write(Append{Snapshot: marker(3, 2), Hard: hard(2, 3)}))
	_, got, err := OpenLog(fs)
	must(t, err)
	if len(got.Entries) != 0 {
		t.Fatalf("entries %q stay", texts(got.Entries))
	}
}

func TestOnlyWhatAMemberMaySayReachesRaft(t *testing.T) {
	for name, m := range map[string]*pb.Message{
		"no term":                {Type: pb.MsgVote.Enum()},
		"local":                  {Type: pb.MsgHup.Enum(), Term: new(uint64(1))},
		"storage":                {Type: pb.MsgStorageAppendResp.Enum(), Term: new(uint64(1))},
		"proposal":               {Type: pb.MsgProp.Enum(), Term: new(uint64(1)), Entries: []*pb.Entry{{}}},
		"snapshot without file":  {Type: pb.MsgSnap.Enum(), Term: new(uint64(1)), Snapshot: marker(3, 1)},
		"gap between entries":    {Type: pb.MsgApp.Enum(), Term: new(uint64(2)), Index: new(uint64(1)), Entries: []*pb.Entry{entry(3, 1, "x")}},
		"entry of a later term":  {Type: pb.MsgApp.Enum(), Term: new(uint64(2)), Index: new(uint64(1)), Entries: []*pb.Entry{entry(2, 3, "x")}},
		"read without a context": {Type: pb.MsgReadIndex.Enum()},
	} {
		if acceptable(m, false) {
			t.Errorf("%s: accepted", name)
		}
	}
	if got := (Unknown{}).Error(); !errors.Is(Unknown{}, dcos.ErrUnknown) || got == "" {
		t.Errorf("unknown prints %q", got)
	}
}
