package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/wire"
)

func str(t *rapid.T, label string) string { return rapid.StringN(0, 12, 40).Draw(t, label) }

func amount(t *rapid.T) resource.Set {
	n := func(l string) int64 { return rapid.Int64().Draw(t, l) }
	var ports []resource.Range
	for range rapid.IntRange(0, 3).Draw(t, "ranges") {
		ports = append(ports, resource.Range{First: rapid.Uint16().Draw(t, "first"), Last: rapid.Uint16().Draw(t, "last")})
	}
	return resource.Set{
		CPUs: resource.Scalar(n("cpus")), Mem: resource.Scalar(n("mem")), Disk: resource.Scalar(n("disk")),
		GPUs: n("gpus"), Ports: resource.NewRanges(ports...),
	}
}

func strMap(t *rapid.T) map[string]string {
	m := rapid.MapOfN(rapid.StringN(0, 5, 20), rapid.StringN(0, 5, 20), 0, 4).Draw(t, "map")
	if len(m) == 0 {
		return nil
	}
	return m
}

func list[T any](t *rapid.T, one func(*rapid.T) T) []T {
	var out []T
	for range rapid.IntRange(0, 4).Draw(t, "n") {
		out = append(out, one(t))
	}
	return out
}

func node(t *rapid.T) dcos.Node {
	return dcos.Node{
		ID: dcos.NodeID(str(t, "id")), Hostname: str(t, "host"), Addr: str(t, "addr"), IP: str(t, "ip"), Boot: str(t, "boot"),
		Version: str(t, "version"), Region: str(t, "region"), Zone: str(t, "zone"), Attributes: strMap(t), Total: amount(t),
		Isolation:   dcos.Isolation(rapid.Byte().Draw(t, "isolation")),
		NotEnforced: list(t, func(t *rapid.T) string { return str(t, "not") }),
	}
}

func ref(t *rapid.T) wire.TaskRef {
	return wire.TaskRef{ID: dcos.TaskID(str(t, "task")), Epoch: dcos.Epoch(rapid.Uint64().Draw(t, "epoch")), State: dcos.TaskState(rapid.Byte().Draw(t, "state"))}
}

func launch(t *rapid.T) dcos.Launch {
	return dcos.Launch{
		Task: dcos.TaskID(str(t, "task")), App: dcos.AppID(str(t, "app")), Epoch: dcos.Epoch(rapid.Uint64().Draw(t, "epoch")),
		Instance: str(t, "instance"), Image: str(t, "image"), ForcePull: rapid.Bool().Draw(t, "force"), Cmd: str(t, "cmd"),
		Args: list(t, func(t *rapid.T) string { return str(t, "arg") }), User: str(t, "user"), Env: strMap(t), Need: amount(t),
		Ports:           list(t, func(t *rapid.T) uint16 { return rapid.Uint16().Draw(t, "port") }),
		KillGraceMillis: rapid.Int64().Draw(t, "grace"),
		Fetch: list(t, func(t *rapid.T) dcos.Artifact {
			return dcos.Artifact{
				URI: str(t, "uri"), Dest: str(t, "dest"), Checksum: str(t, "checksum"),
				Extract: rapid.Bool().Draw(t, "extract"), Executable: rapid.Bool().Draw(t, "executable"), Cache: rapid.Bool().Draw(t, "cache"),
			}
		}),
	}
}

func status(t *rapid.T) dcos.Status {
	s := dcos.Status{
		Task: dcos.TaskID(str(t, "task")), Epoch: dcos.Epoch(rapid.Uint64().Draw(t, "epoch")), Seq: rapid.Uint64().Draw(t, "seq"),
		State: dcos.TaskState(rapid.Byte().Draw(t, "state")), Reason: dcos.Reason(str(t, "reason")), Message: str(t, "message"),
		At: dcos.Time(rapid.Int64().Draw(t, "at")),
	}
	if rapid.Bool().Draw(t, "ended") {
		s.Exit = &dcos.Exit{
			Code: rapid.Int().Draw(t, "code"), Signal: rapid.Int().Draw(t, "signal"), OOM: rapid.Bool().Draw(t, "oom"),
			Unknown: rapid.Bool().Draw(t, "unknown"), At: dcos.Time(rapid.Int64().Draw(t, "exit at")),
		}
	}
	return s
}

func message(t *rapid.T) wire.Msg {
	u := func(l string) uint64 { return rapid.Uint64().Draw(t, l) }
	i := func(l string) int64 { return rapid.Int64().Draw(t, l) }
	switch rapid.IntRange(0, 11).Draw(t, "kind") {
	case 0:
		return wire.Hello{
			Versions: wire.Versions{Min: rapid.Uint32().Draw(t, "min"), Max: rapid.Uint32().Draw(t, "max")},
			Node:     node(t), Cluster: str(t, "cluster"), Term: dcos.Term(u("term")), Seq: u("seq"), Tasks: list(t, ref),
		}
	case 1:
		return wire.Welcome{Version: rapid.Uint32().Draw(t, "version"), Term: dcos.Term(u("term")), BeatMillis: i("beat"), Level: u("level")}
	case 2:
		return wire.Redirect{Leader: str(t, "leader")}
	case 3:
		return wire.Refused{Why: str(t, "why"), RetryMillis: i("retry")}
	case 4:
		return wire.Assign{
			Term: dcos.Term(u("term")), Seq: u("seq"), Full: rapid.Bool().Draw(t, "full"), Run: list(t, launch), Keep: list(t, ref),
			Stop: list(t, ref), Hash: u("hash"),
		}
	case 5:
		return wire.Report{Statuses: list(t, status)}
	case 6:
		return wire.Ack{Seqs: list(t, func(t *rapid.T) uint64 { return rapid.Uint64().Draw(t, "seq") })}
	case 7:
		return wire.Beat{N: u("n"), Term: dcos.Term(u("term")), Seq: u("seq"), Hash: u("hash"), Usage: wire.Usage{
			CPUMilli: i("cpu"), MemBytes: i("mem"), DiskBytes: i("disk"), Tasks: i("tasks"), MemTotal: i("mt"), DiskTotal: i("dt"), LoadMilli: i("load"),
		}}
	case 8:
		return wire.BeatAck{N: u("n"), BeatMillis: i("beat")}
	case 9:
		return wire.ProbeAsk{ID: u("id"), Target: str(t, "target")}
	case 10:
		return wire.ProbeAnswer{ID: u("id"), Alive: rapid.Bool().Draw(t, "alive")}
	}
	return wire.Bye{}
}

func TestEveryMessageReadsBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := list(t, message)
		var stream bytes.Buffer
		for _, m := range want {
			if err := wire.WriteMsg(&stream, m); err != nil {
				t.Fatalf("write %+v: %v", m, err)
			}
		}
		var got []wire.Msg
		var buf []byte
		for {
			m, b, err := wire.ReadMsg(&stream, buf)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			buf = b
			got = append(got, m)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("written and read differ:\n%s", diff)
		}
	})
}

func TestUnknownFieldsOfANewerPeerAreSkipped(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := wire.Redirect{Leader: "10.0.0.1:7444"}
		inner := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), want.Leader)
		num := protowire.Number(rapid.IntRange(50, 5000).Draw(t, "num"))
		for _, b := range [][]byte{
			protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), 7),
			protowire.AppendFixed64(protowire.AppendTag(nil, num, protowire.Fixed64Type), 7),
			protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), "new"),
		} {
			inner = append(inner, b...)
		}
		frame := protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), inner)
		frame = protowire.AppendVarint(protowire.AppendTag(frame, num, protowire.VarintType), 1)
		if got, err := wire.Decode(frame); err != nil || got != want {
			t.Fatalf("Decode(%x) = %v, %v, want %v", frame, got, err, want)
		}
	})
}

// The bytes on the wire are a contract with older and newer binaries.
func TestEncodingIsTheRecordedOne(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		m    wire.Msg
		want string
	}{
		{wire.Bye{}, "00000002" + "6200"},
		{wire.Redirect{Leader: "host:91"}, "0000000b" + "1a09" + "0a07686f73743a3931"},
		{wire.Ack{Seqs: []uint64{1, 300}}, "00000007" + "3a05" + "0a0301ac02"},
		{
			wire.Report{Statuses: []dcos.Status{{Task: "t", Epoch: 5, State: dcos.TaskFailed, Exit: &dcos.Exit{Code: -1}}}},
			"00000018" + "3216" + "0a14" + "0a0174" + "1005" + "2007" + "3a0b08ffffffffffffffffff01",
		},
	} {
		got, err := wire.AppendFrame(nil, tt.m)
		if err != nil || hex.EncodeToString(got) != tt.want {
			t.Errorf("%+v is encoded as %x, %v, want %s", tt.m, got, err, tt.want)
		}
	}
}

func TestDecodeRefusesWhatBreaksALimit(t *testing.T) {
	t.Parallel()
	field := func(n protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), b)
	}
	var many []byte
	for range 1<<17 + 1 {
		many = append(many, field(6, nil)...) // Assign.Stop
	}
	for name, b := range map[string][]byte{
		"nothing":            nil,
		"unknown kind":       field(99, nil),
		"cut tag":            {0x80},
		"cut field":          {0x0a, 0x05, 0x01},
		"field number 0":     {0x02, 0x00},
		"too many elements":  field(5, many),
		"long id":            field(3, field(1, bytes.Repeat([]byte("a"), 5000))),
		"text is not UTF-8":  field(3, field(1, []byte{0xff, 0xfe})),
		"long message":       field(6, field(1, field(6, bytes.Repeat([]byte("a"), dcos.MaxMessage+1)))),
		"state out of range": field(6, field(1, []byte{0x20, 0x80, 0x02})),
		"port out of range":  field(5, field(4, field(12, []byte{0x80, 0x80, 0x04}))),
	} {
		if m, err := wire.Decode(b); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("%s: Decode = %v, %v, want an invalid", name, m, err)
		}
	}
}

func TestFramesBeyondTheLimitAreNeverWrittenOrRead(t *testing.T) {
	t.Parallel()
	var w bytes.Buffer
	big := wire.Assign{Run: []dcos.Launch{{Cmd: strings.Repeat("x", wire.MaxFrame)}}}
	if err := wire.WriteMsg(&w, big); !errors.Is(err, dcos.ErrInvalid) || w.Len() != 0 {
		t.Errorf("writing %d bytes: %v, %d bytes went out, want an invalid and nothing", wire.MaxFrame, err, w.Len())
	}
	if err := wire.WriteMsg(&w, nil); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("writing nil: %v, want an invalid", err)
	}
	if _, _, err := wire.ReadMsg(strings.NewReader("GET / HTTP/1.1\r\n\r\n"), nil); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("reading HTTP: %v, want an invalid", err)
	}
	claims := io.MultiReader(bytes.NewReader([]byte{0, 0x3f, 0xff, 0xff, 1, 2, 3}))
	m, buf, err := wire.ReadMsg(claims, nil)
	if !errors.Is(err, io.ErrUnexpectedEOF) || cap(buf) > 1<<20 {
		t.Errorf("frame that only claims 4 MiB: %v, %v with a buffer of %d, want an unexpected EOF and a small buffer", m, err, cap(buf))
	}
}

func TestInvalidTextIsMendedByTheWriter(t *testing.T) {
	t.Parallel()
	var w bytes.Buffer
	if err := wire.WriteMsg(&w, wire.Report{Statuses: []dcos.Status{{Message: "a\xffb"}}}); err != nil {
		t.Fatal(err)
	}
	m, _, err := wire.ReadMsg(&w, nil)
	if err != nil || m.(wire.Report).Statuses[0].Message != "a\uFFFDb" {
		t.Errorf("read back %+v, %v", m, err)
	}
}

func TestNegotiateTakesTheNewestCommonVersion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		ours, theirs wire.Versions
		want         uint32
		says         string
	}{
		{wire.Versions{Min: 1, Max: 3}, wire.Versions{Min: 2, Max: 5}, 3, ""},
		{wire.Versions{Min: 1, Max: 1}, wire.Versions{Min: 1, Max: 1}, 1, ""},
		{wire.Versions{Min: 3, Max: 4}, wire.Versions{Min: 1, Max: 2}, 0, "agent 1 to 2"},
		{wire.Versions{Min: 1, Max: 2}, wire.Versions{Min: 3, Max: 4}, 0, "agent 3 to 4"},
		{wire.Versions{Min: 1, Max: 2}, wire.Versions{}, 0, "agent 0 to 0"},
	} {
		got, err := wire.Negotiate(tt.ours, tt.theirs)
		if got != tt.want || (err != nil) != (tt.says != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v with %v: %d, %v, want %d %q", tt.ours, tt.theirs, got, err, tt.want, tt.says)
		}
	}
}

func TestSetHashIsOfTheSetNotItsOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		refs := list(t, ref)
		mixed := rapid.Permutation(refs).Draw(t, "order")
		if a, b := wire.SetHash(refs), wire.SetHash(mixed); a != b {
			t.Fatalf("%v: %x, %v: %x", refs, a, mixed, b)
		}
		one := ref(t)
		other := wire.TaskRef{ID: one.ID, Epoch: one.Epoch + 1}
		if wire.SetHash(append(refs[:len(refs):len(refs)], one)) == wire.SetHash(append(refs[:len(refs):len(refs)], other)) {
			t.Fatalf("hash of %v does not depend on the epoch", one)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, m := range []wire.Msg{
		wire.Bye{},
		wire.Ack{Seqs: []uint64{1, 300}},
		wire.Beat{N: 1, Usage: wire.Usage{CPUMilli: 5}},
		wire.Hello{Cluster: "c", Node: dcos.Node{ID: "n", Attributes: map[string]string{"a": "b"}, Total: resource.Set{CPUs: 1000, Ports: resource.PortSet(80)}}, Tasks: []wire.TaskRef{{ID: "t", Epoch: 3}}},
		wire.Assign{Term: 1, Seq: 2, Full: true, Run: []dcos.Launch{{Task: "t", Cmd: "true", Env: map[string]string{"A": "1"}, Ports: []uint16{80}}}, Stop: []wire.TaskRef{{ID: "u"}}},
		wire.Report{Statuses: []dcos.Status{{Task: "t", State: dcos.TaskFailed, Exit: &dcos.Exit{Code: 3}}}},
	} {
		b, err := wire.AppendFrame(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[4:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			return
		}
		m, err := wire.Decode(b)
		if err != nil {
			if !errors.Is(err, dcos.ErrInvalid) {
				t.Errorf("%x: %v is of no kind", b, err)
			}
			return
		}
		frame, err := wire.AppendFrame(nil, m)
		if err != nil {
			return // grew beyond the limit by being written in full
		}
		again, err := wire.Decode(frame[4:])
		if err != nil {
			t.Fatalf("%x: %+v does not read back: %v", b, m, err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Errorf("%x changed by one round:\n%s", b, diff)
		}
	})
}
