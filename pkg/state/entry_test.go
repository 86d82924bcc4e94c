package state

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestNumbersOfCommandsNeverChange(t *testing.T) {
	t.Parallel()
	want := []string{
		"1 init-cluster InitCluster", "2 raise-level RaiseLevel", "3 put-master PutMaster", "4 remove-master RemoveMaster",
		"5 put-node PutNode", "6 set-node-state SetNodeState", "7 remove-node RemoveNode", "8 put-app PutApp",
		"9 restart-app RestartApp", "10 delete-app DeleteApp", "11 remove-app RemoveApp", "12 advance-deployment AdvanceDeployment",
		"13 cancel-deployment CancelDeployment", "14 reset-backoff ResetBackoff", "15 add-tasks AddTasks", "16 retry-tasks RetryTasks",
		"17 place Place", "18 stop-tasks StopTasks", "19 task-statuses TaskStatuses", "20 lose-tasks LoseTasks",
		"21 put-package PutPackage", "22 remove-package RemovePackage", "23 put-user PutUser", "24 remove-user RemoveUser",
		"25 put-token PutToken", "26 remove-token RemoveToken", "28 put-role PutRole",
		"29 remove-role RemoveRole", "30 put-quota PutQuota", "31 reserve Reserve", "32 unreserve Unreserve", "33 create-volume CreateVolume",
		"34 resize-volume ResizeVolume", "35 destroy-volume DestroyVolume",
		"50 start-master StartMaster", "51 hold-master HoldMaster", "27 all All", "40 put-gossip PutGossip",
		"41 drain-node DrainNode", "42 activate-node ActivateNode", "43 retire-node RetireNode", "44 readmit-node ReadmitNode",
	}
	got := make([]string, len(registry))
	for i, s := range registry {
		got[i] = fmt.Sprintf("%d %s %s", s.number, s.name, s.kind.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("old logs cannot be read any more (-want +got):\n%s", diff)
	}
}

// Every command goes through the codec, and Apply knows it.
func TestEveryCommandIsEncodedDecodedAndApplied(t *testing.T) {
	t.Parallel()
	for _, spec := range registry {
		c, ok := reflect.New(spec.kind).Elem().Interface().(Command)
		if !ok {
			t.Fatalf("%s is no command", spec.kind)
		}
		p, err := decodeProposal(encode(t, Proposal{Commands: []Command{c}}))
		if err != nil {
			t.Fatalf("%s: %v", spec.name, err)
		}
		if got := reflect.TypeOf(p.commands[0]); got != spec.kind {
			t.Errorf("%s came back as %s", spec.name, got)
		}
		x := &txn{t: newTables(), removed: map[dcos.AppID]bool{}}
		if item := x.do(c); item.Err != nil && strings.Contains(item.Err.Error(), "has no meaning") {
			t.Errorf("%s: %v", spec.name, item.Err)
		}
		subjectOf(c)
	}
}

func TestProposalsKeepWhatTheyCarry(t *testing.T) {
	t.Parallel()
	app := testApp("/a", 3)
	app.Env = map[string]string{"B": "2", "A": "\xff not UTF-8"}
	in := Proposal{ID: dcos.ProposalID{Proposer: 3, Seq: 4}, Principal: "ann", Commands: []Command{
		PutApp{App: app, Mode: PutUpdate, IfVersion: 5, Force: true},
		All{Commands: []Command{RemoveUser{ID: "x"}, PutNode{Node: testNode("n1")}}},
		TaskStatuses{Node: "n", Statuses: []dcos.Status{{Task: "t", Exit: &dcos.Exit{Code: -1, Signal: 9}}}},
	}}
	at, got, err := decodeEntry(EncodeEntry(epoch0, encode(t, in), encode(t, Proposal{})))
	if err != nil || at != epoch0 || len(got) != 2 {
		t.Fatalf("decoded %v, %v, %v", at, got, err)
	}
	out := Proposal{ID: got[0].id, Principal: got[0].principal, Commands: got[0].commands}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Errorf("(-in +out):\n%s", diff)
	}
}

func TestEntriesWrittenByHandAreWhatTheCodecWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(0, 1<<rapid.IntRange(0, 63).Draw(t, "bits")).Draw(t, "n")
		want, err := encMode.Marshal(n)
		if err != nil || !bytes.Equal(dcos.AppendHead(nil, 0, n), want) {
			t.Fatalf("%d is written % x, want % x, %v", n, dcos.AppendHead(nil, 0, n), want, err)
		}
	})
	p := encode(t, Proposal{Principal: "ann"})
	want, err := encMode.Marshal(entryWire{Level: 1, Time: epoch0, Proposals: []cbor.RawMessage{p, p}})
	if got := EncodeEntry(epoch0, p, p); err != nil || !bytes.Equal(got, want) {
		t.Errorf("entry % x, want % x, %v", got, want, err)
	}
}

func TestEncodeProposalRefusesWhatOthersCouldNotRead(t *testing.T) {
	t.Parallel()
	big := testApp("/a", 1)
	big.Cmd = strings.Repeat("x", MaxProposal)
	for _, tt := range []struct {
		name string
		cmd  Command
	}{
		{"too large", PutApp{App: big}},
		{"too many elements", RetryTasks{Tasks: make([]dcos.TaskID, maxElements+1)}},
		{"all within all", All{Commands: []Command{All{}}}},
		{"a pointer", &PutApp{}},
		{"nothing", nil},
	} {
		if b, err := EncodeProposal(Proposal{Commands: []Command{tt.cmd}}); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("%s: %d bytes, error %v", tt.name, len(b), err)
		}
	}
}

func wireProposal(t *testing.T, w proposalWire) []byte {
	t.Helper()
	b, err := encMode.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestApplyStopsAtWhatItDoesNotKnowAndChangesNothing(t *testing.T) {
	t.Parallel()
	good := encode(t, Proposal{Commands: []Command{PutUser{User: dcos.User{ID: "ann"}}}})
	body, _ := encMode.Marshal(map[int]string{1: "x", 99: "from the future"})
	nested, _ := encMode.Marshal([]commandWire{{Number: allNumber, Body: cbor.RawMessage{0x80}}})
	for _, tt := range []struct {
		name, want string
		entry      []byte
	}{
		{"garbage", "decode entry", []byte("garbage")},
		{"cut off", "decode entry", EncodeEntry(1, good)[:20]},
		{"something behind", "decode entry", append(EncodeEntry(1, good), 0)},
		{"indefinite length", "decode entry", []byte{0xbf, 0xff}},
		{"key twice", "decode entry", []byte{0xa2, 1, 1, 1, 1}},
		{"higher frame level", above(Level + 1), []byte{0xa3, 1, byte(Level + 1), 2, 1, 3, 0x80}},
		{"higher level", "feature level 9 is needed", EncodeEntry(1, good, wireProposal(t, proposalWire{Level: 9}))},
		{"unknown command", "command number 99 is not known", EncodeEntry(1, good, wireProposal(t, proposalWire{Commands: []commandWire{{Number: 99, Body: cbor.RawMessage{0xa0}}}}))},
		{"unknown field", "decode remove-user", EncodeEntry(1, good, wireProposal(t, proposalWire{Commands: []commandWire{{Number: 24, Body: body}}}))},
		{"all within all", "all within all", EncodeEntry(1, good, wireProposal(t, proposalWire{Commands: []commandWire{{Number: allNumber, Body: nested}}}))},
		{"level beyond this build", above(Level + 1), EncodeEntry(1, good,
			encode(t, Proposal{Commands: []Command{InitCluster{Info: dcos.ClusterInfo{ID: "x", Level: Level + 1}}}}))},
		{"raised beyond this build", above(Level + 2), EncodeEntry(1,
			encode(t, Proposal{Commands: []Command{InitCluster{Info: dcos.ClusterInfo{ID: "x"}}, RaiseLevel{Level: Level + 2}}}))},
		{"too long", "expected at most", make([]byte, MaxEntry+entryOverhead+1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := New()
			_, results, err := s.Apply(7, tt.entry)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "entry 7") || results != nil {
				t.Errorf("error %v, results %v, want an error about %q", err, results, tt.want)
			}
			if got, want := dump(s.View()), dump(New().View()); got != want {
				t.Errorf("the state changed: %s", got)
			}
			if commit, _, err := s.Apply(7, EncodeEntry(1, good)); err != nil || len(commit.Changes) != 1 || commit.Changes[0].Old != nil {
				t.Errorf("afterwards a good entry 7 gives %+v, %v", commit.Changes, err)
			}
		})
	}
}

func TestEntriesAreAppliedOnceAndInOrder(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutUser{User: dcos.User{ID: "ann"}})
	entry := EncodeEntry(c.now, encode(t, Proposal{Commands: []Command{RemoveUser{ID: "ann"}}}))
	if commit, results, err := c.s.Apply(1, entry); err != nil || results != nil || commit.Index != 0 {
		t.Errorf("an old entry gave %+v, %v, %v", commit, results, err)
	}
	if commit, results, err := c.s.Apply(5, nil); err != nil || len(results) != 0 || commit.Index != 5 || c.s.View().Index() != 5 {
		t.Errorf("an empty entry gave %+v, %v, %v", commit, results, err)
	}
	if _, ok := c.s.View().User("ann"); !ok {
		t.Error("the old entry was applied")
	}

	// Raft's own entry comes first in every log; the first stamp is still
	// taken at its word.
	s := New()
	for i, entry := range [][]byte{nil, EncodeEntry(epoch0)} {
		if commit, _, err := s.Apply(dcos.Index(i+1), entry); err != nil || commit.Time != []dcos.Time{0, epoch0}[i] {
			t.Errorf("entry %d: time %d, %v", i+1, commit.Time, err)
		}
	}
}

func TestTimeNeverGoesBackAndJumpsAreBounded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                string
		before, stamp, want dcos.Time
	}{
		{"first entry is taken at its word", 0, epoch0, epoch0},
		{"forward", epoch0, epoch0 + 5, epoch0 + 5},
		{"backward", epoch0, epoch0 - 5, epoch0},
		{"jump", epoch0, epoch0.Add(100 * 24 * time.Hour), epoch0.Add(MaxJump)},
		{"never 0", 0, 0, 1},
		{"negative", 0, -5, 1},
		{"end of time", maxTime - 1, maxTime + 5, maxTime},
		{"absurd first", 0, 1 << 62, maxTime},
	} {
		if got := nextTime(tt.before, tt.stamp); got != tt.want {
			t.Errorf("%s: nextTime(%d, %d) = %d, want %d", tt.name, tt.before, tt.stamp, got, tt.want)
		}
	}
}

func TestDelayGrowsByItsFactorUpToTheLargest(t *testing.T) {
	t.Parallel()
	marathon := dcos.Backoff{InitialMillis: 1000, FactorMilli: 1150, MaxMillis: 2000}
	var got []int64
	delay := int64(0)
	for range 8 {
		delay = grow(marathon, delay)
		got = append(got, delay)
	}
	if diff := cmp.Diff([]int64{1000, 1150, 1322, 1520, 1748, 2000, 2000, 2000}, got); diff != "" {
		t.Errorf("delays (-want +got):\n%s", diff)
	}
	for _, b := range []dcos.Backoff{
		{}, {InitialMillis: -5, MaxMillis: -9}, {InitialMillis: 1 << 62, FactorMilli: 1<<32 - 1, MaxMillis: 1 << 62}, {InitialMillis: 9, FactorMilli: 0, MaxMillis: 100},
	} {
		delay := int64(0)
		for range 100 {
			next := grow(b, delay)
			if next < delay || next > maxDelayMillis {
				t.Fatalf("%+v: delay %d after %d", b, next, delay)
			}
			delay = next
		}
	}
}
