package dcos

import (
	"math"

	"github.com/dcos-go/dcos/pkg/resource"
)

// Tasks are nearly all of a snapshot. They are written by hand, to the bytes
// that the codec would write after their tags (deterministic encoding of RFC
// 8949), and read by hand as far as they look like that.

// The major types of CBOR that are used here.
const (
	majorUint  = 0
	majorText  = 3
	majorArray = 4
	majorMap   = 5
)

// AppendTask writes a task as CBOR; ok is false when it has parts that only the
// codec writes.
func AppendTask(b []byte, k *Task) (out []byte, ok bool) {
	if k.Exit != nil || k.Hold != nil {
		return b, false
	}
	head := len(b)
	b = append(b, 0) // number of fields, below 24
	n := byte(0)
	field := func(key byte) { b, n = append(b, key), n+1 }
	text := func(key byte, s string) {
		field(key)
		b = append(AppendHead(b, majorText, uint64(len(s))), s...)
	}
	number := func(key byte, v int64) {
		field(key)
		b = appendInt(b, v)
	}
	unsigned := func(key byte, v uint64) {
		field(key)
		b = AppendHead(b, majorUint, v)
	}
	text(1, string(k.ID))
	text(2, string(k.App))
	number(3, int64(k.Version))
	unsigned(4, uint64(k.Ordinal))
	unsigned(5, uint64(k.Attempt))
	unsigned(6, uint64(k.Goal))
	unsigned(7, uint64(k.State))
	if k.Node != "" {
		text(8, string(k.Node))
	}
	if k.Epoch != 0 {
		unsigned(9, uint64(k.Epoch))
	}
	field(10)
	b = appendSet(b, &k.Need)
	if len(k.Ports) > 0 {
		field(11)
		b = AppendHead(b, majorArray, uint64(len(k.Ports)))
		for _, p := range k.Ports {
			b = AppendHead(b, majorUint, uint64(p))
		}
	}
	if k.Reason != "" {
		text(12, string(k.Reason))
	}
	if k.Message != "" {
		text(13, k.Message)
	}
	if k.StatusSeq != 0 {
		unsigned(15, k.StatusSeq)
	}
	number(16, int64(k.CreatedAt))
	for i, at := range [...]Time{k.PlacedAt, k.StartedAt, k.EndedAt} {
		if at != 0 {
			number(17+byte(i), int64(at))
		}
	}
	if k.Final {
		field(20)
		b = append(b, cborTrue)
	}
	if k.Unreachable != 0 {
		number(21, int64(k.Unreachable))
	}
	b[head] = majorMap<<5 | n
	return b, true
}

const cborTrue = 0xf5

func appendInt(b []byte, v int64) []byte {
	if v < 0 {
		return AppendHead(b, 1, uint64(^v))
	}
	return AppendHead(b, majorUint, uint64(v))
}

func appendSet(b []byte, s *resource.Set) []byte {
	head := len(b)
	b = append(b, 0)
	n := byte(0)
	for i, v := range [...]int64{int64(s.CPUs), int64(s.Mem), int64(s.Disk), s.GPUs} {
		if v != 0 {
			b, n = appendInt(append(b, byte(i+1)), v), n+1
		}
	}
	if len(s.Ports) > 0 {
		b, n = AppendHead(append(b, 5), majorArray, uint64(len(s.Ports))), n+1
		for _, r := range s.Ports {
			b = AppendHead(append(b, majorMap<<5|2, 1), majorUint, uint64(r.First))
			b = AppendHead(append(b, 2), majorUint, uint64(r.Last))
		}
	}
	b[head] = majorMap<<5 | n
	return b
}

// Texts keeps one copy of each of the few texts that many rows hold.
type Texts map[string]string

func (t Texts) of(b []byte) string {
	s, ok := t[string(b)]
	if !ok {
		s = string(b)
		if len(t) < maxTextsKept {
			t[s] = s
		}
	}
	return s
}

const (
	maxTextsKept = 1 << 16
	maxPlain     = 1 << 16 // elements of an array
)

// plainReader reads the plainest form of CBOR; odd says that it met another.
type plainReader struct {
	in  []byte
	odd bool
}

func (r *plainReader) fail() { r.in, r.odd = nil, true }

// head reads the head of an item of a major type.
func (r *plainReader) head(major byte) uint64 {
	if len(r.in) == 0 || r.in[0]>>5 != major {
		r.fail()
		return 0
	}
	info := r.in[0] & 31
	if info < 24 {
		r.in = r.in[1:]
		return uint64(info)
	}
	size := 1 << (info - 24) // a large shift gives 0
	if info > 27 || len(r.in) <= size {
		r.fail()
		return 0
	}
	n := uint64(0)
	for _, c := range r.in[1 : 1+size] {
		n = n<<8 | uint64(c)
	}
	r.in = r.in[1+size:]
	return n
}

// upTo is a number that must not be larger.
func (r *plainReader) upTo(most uint64) uint64 {
	n := r.head(majorUint)
	if n > most {
		r.fail()
		return 0
	}
	return n
}

// number is a signed number; negative ones do not occur and are odd.
func (r *plainReader) number() int64 { return int64(r.upTo(math.MaxInt64)) }

// text is good until the input changes.
func (r *plainReader) text() []byte {
	n := r.head(majorText)
	if n > uint64(len(r.in)) {
		r.fail()
		return nil
	}
	s := r.in[:n]
	r.in = r.in[n:]
	return s
}

// array is the length of an array that is not empty, of which each element
// takes a byte or more.
func (r *plainReader) array() int {
	n := r.head(majorArray)
	if n == 0 || n > uint64(len(r.in)) || n > maxPlain {
		r.fail()
		return 0
	}
	return int(n)
}

// fields reads a map whose keys are numbers below 24 in their order.
func (r *plainReader) fields(read func(key byte)) {
	n := r.head(majorMap)
	last := -1
	for ; n > 0 && !r.odd; n-- {
		key := int(r.upTo(23))
		if key <= last {
			r.fail()
			return
		}
		last = key
		read(byte(key))
	}
}

// ReadTask is the task in a row, with texts that others share; ok is false when
// only the codec can tell what it is.
func ReadTask(body []byte, shared Texts) (k *Task, ok bool) {
	r := &plainReader{in: body}
	k = new(Task)
	r.fields(func(key byte) { r.taskField(k, key, shared) })
	return k, !r.odd && len(r.in) == 0
}

func (r *plainReader) taskField(k *Task, key byte, shared Texts) {
	switch key {
	case 1:
		k.ID = TaskID(r.text())
	case 2:
		k.App = AppID(shared.of(r.text()))
	case 3:
		k.Version = Version(r.number())
	case 4:
		k.Ordinal = uint32(r.upTo(math.MaxUint32))
	case 5:
		k.Attempt = uint32(r.upTo(math.MaxUint32))
	case 6:
		k.Goal = Goal(r.upTo(math.MaxUint8))
	case 7:
		k.State = TaskState(r.upTo(math.MaxUint8))
	case 8:
		k.Node = NodeID(shared.of(r.text()))
	case 9:
		k.Epoch = Epoch(r.head(majorUint))
	case 10:
		r.fields(func(key byte) { r.setField(&k.Need, key) })
	case 11:
		k.Ports = make([]uint16, r.array())
		for i := range k.Ports {
			k.Ports[i] = uint16(r.upTo(math.MaxUint16))
		}
	case 12:
		k.Reason = Reason(shared.of(r.text()))
	case 13:
		k.Message = string(r.text())
	case 15:
		k.StatusSeq = r.head(majorUint)
	case 16:
		k.CreatedAt = Time(r.number())
	case 17:
		k.PlacedAt = Time(r.number())
	case 18:
		k.StartedAt = Time(r.number())
	case 19:
		k.EndedAt = Time(r.number())
	case 20:
		if len(r.in) == 0 || r.in[0] != cborTrue {
			r.fail()
			return
		}
		k.Final, r.in = true, r.in[1:]
	case 21:
		k.Unreachable = Time(r.number())
	default: // an exit and a hold are rare
		r.fail()
	}
}

func (r *plainReader) setField(s *resource.Set, key byte) {
	switch key {
	case 1:
		s.CPUs = resource.Scalar(r.number())
	case 2:
		s.Mem = resource.Scalar(r.number())
	case 3:
		s.Disk = resource.Scalar(r.number())
	case 4:
		s.GPUs = r.number()
	case 5:
		s.Ports = make(resource.Ranges, r.array())
		for i := range s.Ports {
			r.fields(func(key byte) {
				switch key {
				case 1:
					s.Ports[i].First = uint16(r.upTo(math.MaxUint16))
				case 2:
					s.Ports[i].Last = uint16(r.upTo(math.MaxUint16))
				default:
					r.fail()
				}
			})
		}
	default:
		r.fail()
	}
}

// AppendHead writes the head of a CBOR item: its major type and a number.
func AppendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return append(b, major|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return append(b, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, major|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}
