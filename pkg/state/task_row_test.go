package state

import (
	"bytes"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// drawTask makes a task of any shape, also such as no state holds.
func drawTask(t *rapid.T) *dcos.Task {
	text := func(name string) string { return rapid.StringN(0, 30, 300).Draw(t, name) }
	number := func(name string) int64 { // mostly one that is read by hand
		return rapid.OneOf(rapid.Int64Range(0, math.MaxInt64), rapid.Int64()).Draw(t, name)
	}
	some := func(name string) bool { return rapid.Bool().Draw(t, name) }
	k := &dcos.Task{
		ID: dcos.TaskID(text("id")), App: dcos.AppID(text("app")), Version: dcos.Version(number("version")),
		Ordinal: rapid.Uint32().Draw(t, "ordinal"), Attempt: rapid.Uint32().Draw(t, "attempt"),
		Goal: dcos.Goal(rapid.Uint8().Draw(t, "goal")), State: dcos.TaskState(rapid.Uint8().Draw(t, "state")),
		CreatedAt: dcos.Time(number("created")), Final: some("final"),
	}
	if some("placed") {
		k.Node, k.Epoch, k.PlacedAt, k.StartedAt = dcos.NodeID(text("node")), dcos.Epoch(rapid.Uint64().Draw(t, "epoch")), dcos.Time(number("placed at")), 7
		k.Ports = rapid.SliceOfN(rapid.Uint16(), 0, 30).Draw(t, "ports")
		k.Need = resource.Set{
			CPUs: resource.Scalar(number("cpus")), Mem: resource.Scalar(rapid.Int64Range(0, 300).Draw(t, "mem")),
			Disk: resource.Scalar(rapid.Int64Range(-2, 2).Draw(t, "disk")), GPUs: rapid.Int64Range(-300, 300).Draw(t, "gpus"),
		}
		for _, p := range rapid.SliceOfN(rapid.Uint16(), 0, 30).Draw(t, "ranges") {
			k.Need.Ports = append(k.Need.Ports, resource.Range{First: p, Last: p + 1})
		}
	}
	if some("reported") {
		k.Reason, k.Message, k.StatusSeq = dcos.Reason(text("reason")), text("message"), rapid.Uint64().Draw(t, "seq")
		k.EndedAt, k.Unreachable = dcos.Time(number("ended at")), dcos.Time(rapid.Int64Range(0, 2).Draw(t, "unreachable"))
	}
	if some("exited") {
		k.Exit = &dcos.Exit{Code: 3, At: 4}
	}
	if some("holds") {
		k.Hold = &dcos.TaskHold{Reservation: "r"}
	}
	return k
}

// readSame expects that what is read by hand is what the codec reads.
func readSame(t interface{ Fatalf(string, ...any) }, body []byte) {
	k, ok := dcos.ReadTask(body, dcos.Texts{})
	if !ok {
		return
	}
	want, err := decodeRow[dcos.Task](body)
	if err != nil {
		t.Fatalf("%x is read by hand, the codec says %v", body, err)
	}
	if diff := cmp.Diff(want, k); diff != "" {
		t.Fatalf("%x is read by hand as something else (-codec +hand):\n%s", body, diff)
	}
}

func TestTasksWrittenByHandAreWhatTheCodecWrites(t *testing.T) {
	t.Parallel()
	plain := appendRowTo(nil, &dcos.Task{ID: "a", App: "/a", Version: 1, CreatedAt: 1})
	if _, ok := dcos.ReadTask(plain, dcos.Texts{}); !ok {
		t.Errorf("%x is not read by hand", plain)
	}
	rapid.Check(t, func(t *rapid.T) {
		k := drawTask(t)
		want, err := encMode.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendRowTo([]byte("x"), k); !bytes.Equal(got[1:], want) {
			t.Fatalf("%+v is written as %x, the codec writes %x", k, got[1:], want)
		}
		readSame(t, want)
		// And with a byte that is something else, or cut off.
		at := rapid.IntRange(0, len(want)-1).Draw(t, "at")
		readSame(t, want[:at])
		want[at] = rapid.Byte().Draw(t, "byte")
		readSame(t, want)
	})
}

// FuzzTaskRow reads what no writer wrote.
func FuzzTaskRow(f *testing.F) {
	for k := range populated(f).s.View().Tasks() {
		f.Add(encodeRow(k))
	}
	f.Fuzz(func(t *testing.T, body []byte) { readSame(t, body) })
}
