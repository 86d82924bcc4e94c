package wire

import (
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// maxItems bounds the elements of all lists and maps in one message, since a
// small encoding of many elements would need much memory decoded.
const maxItems = 1 << 17

// maxID bounds ids, addresses and names; what is longer is not ours.
const maxID = 2048

// Decode reads one message, without its length. It fails with dcos.ErrInvalid
// when the bytes break the format or a limit, or hold no message that this
// version knows. Fields it does not know are skipped.
func Decode(b []byte) (Msg, error) {
	d := decoder{left: maxItems}
	var m Msg
	err := d.each(b, func(f field) error {
		if f.typ != protowire.BytesType {
			return nil
		}
		got, err := d.body(f)
		if got != nil {
			m = got
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: session message: %w", dcos.ErrInvalid, err)
	}
	if m == nil {
		return nil, fmt.Errorf("%w: session message of a kind unknown to this version", dcos.ErrInvalid)
	}
	return m, nil
}

// decoder counts the elements of one message.
type decoder struct{ left int }

// field is one field; u holds a varint, b a string, list or message.
type field struct {
	num protowire.Number
	typ protowire.Type
	u   uint64
	b   []byte
}

// each gives every field of a message in turn.
func (d *decoder) each(b []byte, fn func(field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		f := field{num: num, typ: typ}
		b = b[n:]
		switch typ {
		case protowire.VarintType:
			f.u, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			f.b, n = protowire.ConsumeBytes(b)
		default: // of a newer version: skipped by every reader
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("field %d: %w", num, protowire.ParseError(n))
		}
		b = b[n:]
		if err := fn(f); err != nil {
			return fmt.Errorf("field %d: %w", num, err)
		}
	}
	return nil
}

// count takes one element from what the message may still hold.
func (d *decoder) count() error {
	if d.left--; d.left < 0 {
		return fmt.Errorf("more than %d elements", maxItems)
	}
	return nil
}

func text(b []byte, limit int) (string, error) {
	if len(b) > limit {
		return "", fmt.Errorf("text of %d bytes, expected at most %d", len(b), limit)
	}
	if !utf8.Valid(b) {
		return "", fmt.Errorf("text is not UTF-8")
	}
	return string(b), nil
}

// set puts a short text into any string type.
func set[T ~string](to *T, f field) error { return setLong(to, f, maxID) }

func setLong[T ~string](to *T, f field, limit int) error {
	s, err := text(f.b, limit)
	*to = T(s)
	return err
}

// small puts a number into a type of fewer bits, or fails.
func small[T ~uint8 | ~uint16 | ~uint32](to *T, f field) error {
	*to = T(f.u)
	if uint64(*to) != f.u {
		return fmt.Errorf("number %d is out of range", f.u)
	}
	return nil
}

func (d *decoder) strs(to *[]string, f field) error {
	if err := d.count(); err != nil {
		return err
	}
	s, err := text(f.b, MaxFrame)
	*to = append(*to, s)
	return err
}

func (d *decoder) uints(f field, add func(uint64) error) error {
	for b := f.b; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := d.count(); err != nil {
			return err
		}
		if err := add(v); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) strMap(to *map[string]string, f field) error {
	if err := d.count(); err != nil {
		return err
	}
	var k, v string
	err := d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			return setLong(&k, f, MaxFrame)
		case 2:
			return setLong(&v, f, MaxFrame)
		}
		return nil
	})
	if *to == nil {
		*to = make(map[string]string)
	}
	(*to)[k] = v
	return err
}

func (d *decoder) refs(to *[]TaskRef, f field) error {
	if err := d.count(); err != nil {
		return err
	}
	var t TaskRef
	err := d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			return set(&t.ID, f)
		case 2:
			t.Epoch = dcos.Epoch(f.u)
		case 3:
			return small(&t.State, f)
		}
		return nil
	})
	*to = append(*to, t)
	return err
}

func (d *decoder) resources(s *resource.Set, f field) error {
	var ports []resource.Range
	err := d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			s.CPUs = resource.Scalar(f.u)
		case 2:
			s.Mem = resource.Scalar(f.u)
		case 3:
			s.Disk = resource.Scalar(f.u)
		case 4:
			s.GPUs = int64(f.u)
		case 5:
			if err := d.count(); err != nil {
				return err
			}
			var r resource.Range
			err := d.each(f.b, func(f field) error {
				switch f.num {
				case 1:
					return small(&r.First, f)
				case 2:
					return small(&r.Last, f)
				}
				return nil
			})
			ports = append(ports, r)
			return err
		}
		return nil
	})
	s.Ports = resource.NewRanges(ports...)
	return err
}

func (d *decoder) node(n *dcos.Node, f field) error {
	return d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			return set(&n.ID, f)
		case 2:
			return set(&n.Hostname, f)
		case 3:
			return set(&n.Addr, f)
		case 4:
			return set(&n.IP, f)
		case 5:
			return set(&n.Boot, f)
		case 6:
			return set(&n.Version, f)
		case 7:
			return set(&n.Region, f)
		case 8:
			return set(&n.Zone, f)
		case 9:
			return d.strMap(&n.Attributes, f)
		case 10:
			return d.resources(&n.Total, f)
		case 11:
			return small(&n.Isolation, f)
		case 12:
			return d.strs(&n.NotEnforced, f)
		}
		return nil
	})
}

func (d *decoder) launch(l *dcos.Launch, f field) error {
	return d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			return set(&l.Task, f)
		case 2:
			return set(&l.App, f)
		case 3:
			l.Epoch = dcos.Epoch(f.u)
		case 4:
			return set(&l.Instance, f)
		case 5:
			return set(&l.Image, f)
		case 6:
			l.ForcePull = f.u != 0
		case 7:
			return setLong(&l.Cmd, f, MaxFrame)
		case 8:
			return d.strs(&l.Args, f)
		case 9:
			return set(&l.User, f)
		case 10:
			return d.strMap(&l.Env, f)
		case 11:
			return d.resources(&l.Need, f)
		case 12:
			return d.uints(f, func(v uint64) error {
				if v > math.MaxUint16 {
					return fmt.Errorf("port %d is out of range", v)
				}
				l.Ports = append(l.Ports, uint16(v))
				return nil
			})
		case 13:
			l.KillGraceMillis = int64(f.u)
		case 14:
			l.Fenced = f.u != 0
		case 50:
			return d.artifact(l, f)
		}
		return nil
	})
}

func (d *decoder) artifact(l *dcos.Launch, f field) error {
	if len(l.Fetch) == dcos.MaxArtifacts {
		return fmt.Errorf("more than %d artifacts", dcos.MaxArtifacts)
	}
	var a dcos.Artifact
	err := d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			return setLong(&a.URI, f, dcos.MaxArtifactURI)
		case 2:
			return setLong(&a.Dest, f, dcos.MaxArtifactURI)
		case 3:
			a.Extract = f.u != 0
		case 4:
			a.Executable = f.u != 0
		case 5:
			a.Cache = f.u != 0
		case 6:
			return set(&a.Checksum, f)
		}
		return nil
	})
	l.Fetch = append(l.Fetch, a)
	return err
}

func (d *decoder) status(s *dcos.Status, f field) error {
	return d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			return set(&s.Task, f)
		case 2:
			s.Epoch = dcos.Epoch(f.u)
		case 3:
			s.Seq = f.u
		case 4:
			return small(&s.State, f)
		case 5:
			return set(&s.Reason, f)
		case 6:
			return setLong(&s.Message, f, dcos.MaxMessage)
		case 7:
			s.Exit = &dcos.Exit{}
			return d.exit(s.Exit, f)
		case 8:
			s.At = dcos.Time(f.u)
		}
		return nil
	})
}

func (d *decoder) exit(x *dcos.Exit, f field) error {
	return d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			x.Code = int(int64(f.u))
		case 2:
			x.Signal = int(int64(f.u))
		case 3:
			x.OOM = f.u != 0
		case 4:
			x.Unknown = f.u != 0
		case 5:
			x.At = dcos.Time(f.u)
		}
		return nil
	})
}
