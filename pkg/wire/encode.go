package wire

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// The numbers of the messages in the envelope (see wire.proto). They are never
// used again for anything else.
const (
	numHello protowire.Number = iota + 1
	numWelcome
	numRedirect
	numRefused
	numAssign
	numReport
	numAck
	numBeat
	numBeatAck
	numProbeAsk
	numProbeAnswer
	numBye
)

// encoder appends protobuf fields. As in proto3, zero values are left out.
type encoder struct{ b []byte }

func (e *encoder) uint(n protowire.Number, v uint64) {
	if v != 0 {
		e.b = protowire.AppendVarint(protowire.AppendTag(e.b, n, protowire.VarintType), v)
	}
}

func (e *encoder) int(n protowire.Number, v int64) { e.uint(n, uint64(v)) }

func (e *encoder) bool(n protowire.Number, v bool) {
	if v {
		e.uint(n, 1)
	}
}

func (e *encoder) str(n protowire.Number, s string) {
	if s != "" {
		e.elem(n, s)
	}
}

// elem writes a string even when it is empty, as elements of lists need it.
// What is not UTF-8 is replaced: the reader would refuse it.
func (e *encoder) elem(n protowire.Number, s string) {
	e.b = protowire.AppendString(protowire.AppendTag(e.b, n, protowire.BytesType), strings.ToValidUTF8(s, "\uFFFD"))
}

func (e *encoder) msg(n protowire.Number, fill func(*encoder)) {
	var inner encoder
	fill(&inner)
	e.b = protowire.AppendBytes(protowire.AppendTag(e.b, n, protowire.BytesType), inner.b)
}

// uints writes a packed list.
func (e *encoder) uints(n protowire.Number, vs []uint64) {
	if len(vs) == 0 {
		return
	}
	var packed []byte
	for _, v := range vs {
		packed = protowire.AppendVarint(packed, v)
	}
	e.b = protowire.AppendBytes(protowire.AppendTag(e.b, n, protowire.BytesType), packed)
}

func (e *encoder) strs(n protowire.Number, ss []string) {
	for _, s := range ss {
		e.elem(n, s)
	}
}

func (e *encoder) strMap(n protowire.Number, m map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		e.msg(n, func(e *encoder) { e.str(1, k); e.str(2, m[k]) })
	}
}

func appendMsg(b []byte, m Msg) ([]byte, error) {
	e := encoder{b: b}
	switch m := m.(type) {
	case Hello:
		e.msg(numHello, func(e *encoder) { encodeHello(e, m) })
	case Welcome:
		e.msg(numWelcome, func(e *encoder) {
			e.uint(1, uint64(m.Version))
			e.uint(2, uint64(m.Term))
			e.int(3, m.BeatMillis)
			e.uint(4, m.Level)
		})
	case Redirect:
		e.msg(numRedirect, func(e *encoder) { e.str(1, m.Leader) })
	case Refused:
		e.msg(numRefused, func(e *encoder) { e.str(1, m.Why); e.int(2, m.RetryMillis); e.bool(3, m.Removed) })
	case Assign:
		e.msg(numAssign, func(e *encoder) { encodeAssign(e, m) })
	case Report:
		e.msg(numReport, func(e *encoder) {
			for _, s := range m.Statuses {
				e.msg(1, func(e *encoder) { encodeStatus(e, s) })
			}
		})
	case Ack:
		e.msg(numAck, func(e *encoder) { e.uints(1, m.Seqs) })
	case Beat:
		e.msg(numBeat, func(e *encoder) { encodeBeat(e, m) })
	case BeatAck:
		e.msg(numBeatAck, func(e *encoder) { e.uint(1, m.N); e.int(2, m.BeatMillis); e.uint(3, m.Lease) })
	case ProbeAsk:
		e.msg(numProbeAsk, func(e *encoder) { e.uint(1, m.ID); e.str(2, m.Target) })
	case ProbeAnswer:
		e.msg(numProbeAnswer, func(e *encoder) { e.uint(1, m.ID); e.bool(2, m.Alive) })
	case Bye:
		e.msg(numBye, func(*encoder) {})
	default:
		return b, fmt.Errorf("%w: %T is not a message of a session", dcos.ErrInvalid, m)
	}
	return e.b, nil
}

func encodeHello(e *encoder, m Hello) {
	e.uint(1, uint64(m.Versions.Min))
	e.uint(2, uint64(m.Versions.Max))
	e.msg(3, func(e *encoder) { encodeNode(e, m.Node) })
	e.str(4, m.Cluster)
	e.uint(5, uint64(m.Term))
	e.uint(6, m.Seq)
	encodeRefs(e, 7, m.Tasks)
	e.bool(8, m.Fences)
	e.bool(50, m.Fetches)
}

func encodeRefs(e *encoder, n protowire.Number, refs []TaskRef) {
	for _, t := range refs {
		e.msg(n, func(e *encoder) {
			e.str(1, string(t.ID))
			e.uint(2, uint64(t.Epoch))
			e.uint(3, uint64(t.State))
		})
	}
}

func encodeAssign(e *encoder, m Assign) {
	e.uint(1, uint64(m.Term))
	e.uint(2, m.Seq)
	e.bool(3, m.Full)
	for _, l := range m.Run {
		e.msg(4, func(e *encoder) { encodeLaunch(e, l) })
	}
	encodeRefs(e, 5, m.Keep)
	encodeRefs(e, 6, m.Stop)
	e.uint(7, m.Hash)
}

func encodeBeat(e *encoder, m Beat) {
	e.uint(1, m.N)
	e.uint(2, uint64(m.Term))
	e.uint(3, m.Seq)
	e.uint(4, m.Hash)
	u := m.Usage
	e.msg(5, func(e *encoder) {
		for i, v := range []int64{u.CPUMilli, u.MemBytes, u.DiskBytes, u.Tasks, u.MemTotal, u.DiskTotal, u.LoadMilli} {
			e.int(protowire.Number(i+1), v)
		}
	})
}

func encodeNode(e *encoder, n dcos.Node) {
	e.str(1, string(n.ID))
	e.str(2, n.Hostname)
	e.str(3, n.Addr)
	e.str(4, n.IP)
	e.str(5, n.Boot)
	e.str(6, n.Version)
	e.str(7, n.Region)
	e.str(8, n.Zone)
	e.strMap(9, n.Attributes)
	e.msg(10, func(e *encoder) { encodeSet(e, n.Total) })
	e.uint(11, uint64(n.Isolation))
	e.strs(12, n.NotEnforced)
}

func encodeSet(e *encoder, s resource.Set) {
	e.int(1, int64(s.CPUs))
	e.int(2, int64(s.Mem))
	e.int(3, int64(s.Disk))
	e.int(4, s.GPUs)
	for _, r := range s.Ports {
		e.msg(5, func(e *encoder) { e.uint(1, uint64(r.First)); e.uint(2, uint64(r.Last)) })
	}
}

func encodeLaunch(e *encoder, l dcos.Launch) {
	e.str(1, string(l.Task))
	e.str(2, string(l.App))
	e.uint(3, uint64(l.Epoch))
	e.str(4, l.Instance)
	e.str(5, l.Image)
	e.bool(6, l.ForcePull)
	e.str(7, l.Cmd)
	e.strs(8, l.Args)
	e.str(9, l.User)
	e.strMap(10, l.Env)
	e.msg(11, func(e *encoder) { encodeSet(e, l.Need) })
	ports := make([]uint64, len(l.Ports))
	for i, p := range l.Ports {
		ports[i] = uint64(p)
	}
	e.uints(12, ports)
	e.int(13, l.KillGraceMillis)
	e.bool(14, l.Fenced)
	for _, a := range l.Fetch {
		e.msg(50, func(e *encoder) {
			e.str(1, a.URI)
			e.str(2, a.Dest)
			e.bool(3, a.Extract)
			e.bool(4, a.Executable)
			e.bool(5, a.Cache)
			e.str(6, a.Checksum)
		})
	}
}

func encodeStatus(e *encoder, s dcos.Status) {
	e.str(1, string(s.Task))
	e.uint(2, uint64(s.Epoch))
	e.uint(3, s.Seq)
	e.uint(4, uint64(s.State))
	e.str(5, string(s.Reason))
	e.str(6, s.Message)
	if x := s.Exit; x != nil {
		e.msg(7, func(e *encoder) {
			e.int(1, int64(x.Code))
			e.int(2, int64(x.Signal))
			e.bool(3, x.OOM)
			e.bool(4, x.Unknown)
			e.int(5, int64(x.At))
		})
	}
	e.int(8, int64(s.At))
}
