package state

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// above is what a build says that reads what it does not know.
func above(level uint64) string { return fmt.Sprintf("feature level %d is needed", level) }

// later is a command with parts that came at several levels.
type later struct {
	Plain string
	Field string              `since:"2"`
	Inner []struct{ New int } `since:"1"`
	Deep  map[string]*deeper
}

type deeper struct {
	Old int
	New *bool `since:"2"`
}

func TestLevelOfACommandFollowsFromTheFieldsThatAreSet(t *testing.T) {
	t.Parallel()
	no := false
	for _, tt := range []struct {
		c     later
		level uint64
		field string
	}{
		{later{}, 0, ""},
		{later{Plain: "x", Deep: map[string]*deeper{"a": nil, "b": {Old: 1}}}, 0, ""},
		{later{Inner: []struct{ New int }{{}}}, 1, "Inner"},
		{later{Field: "x"}, 2, "Field"},
		{later{Inner: []struct{ New int }{{}}, Deep: map[string]*deeper{"a": {New: &no}}}, 2, "New"},
	} {
		level, field := config.Since(reflect.TypeFor[later]())(reflect.ValueOf(tt.c))
		if level != tt.level || field != tt.field {
			t.Errorf("%+v needs level %d for %q, want %d for %q", tt.c, level, field, tt.level, tt.field)
		}
	}
	if f := config.Since(reflect.TypeFor[StopTasks]()); f != nil {
		t.Error("a command without such fields is looked through for nothing")
	}
}

// What the first release does not know must carry a level: it refuses unknown
// fields, and its masters would stop.
func TestEveryFieldThatCameLaterCarriesItsLevel(t *testing.T) {
	t.Parallel()
	var got []string
	for _, spec := range registry {
		if spec.level == 1 {
			got = append(got, fieldsOf(spec.name, spec.kind)...)
		}
	}
	b, err := os.ReadFile("testdata/release-0.1.0/fields.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(b)), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields of level 1 without a tag `since` (-release 0.1.0 +this build); the file never changes, a new field says since when it is there:\n%s", diff)
	}
}

// fieldsOf lists fields that do not say since when they are there.
func fieldsOf(path string, t reflect.Type) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return fieldsOf(path, t.Elem())
	case reflect.Struct:
		var out []string
		for i := range t.NumField() {
			f := t.Field(i)
			if _, leveled := f.Tag.Lookup("since"); leveled || f.Name == "Commands" {
				continue
			}
			name := path + "." + f.Name
			out = append(out, name+" "+f.Tag.Get("cbor"))
			out = append(out, fieldsOf(name, f.Type)...)
		}
		return out
	}
	return nil
}

func TestNothingAboveTheLevelIsProposedOrApplied(t *testing.T) {
	t.Parallel()
	var newer []Command
	for _, spec := range registry {
		if spec.level > 1 {
			newer = append(newer, reflect.New(spec.kind).Elem().Interface().(Command))
		}
	}
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "old", Level: 1}})
	c.must(PutMaster{Master: dcos.Master{ID: 7, Name: "m7", Level: 1}})
	for _, cmd := range newer {
		_, name := neededBy(cmd)
		want := fmt.Sprintf("%s needs feature level 2, the cluster is at 1: upgrade every master, then run `dcos upgrade finish`", name)
		for _, form := range []Command{cmd, All{Commands: []Command{ResetBackoff{}, cmd}}} {
			if err := c.s.View().Admits(form); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%T may be proposed: %v", form, err)
			}
		}
		if err := c.refusal(dcos.ErrConflict, cmd); !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q", err, want)
		}
	}
	c.refuse(dcos.ErrConflict, RaiseLevel{Level: 2})
	c.must(PutMaster{Master: dcos.Master{ID: 7, Name: "m7", Level: 2}})
	c.must(RaiseLevel{Level: 2})
	for _, cmd := range newer {
		if err := c.s.View().Admits(cmd, All{Commands: []Command{cmd}}); err != nil {
			t.Error(err)
		}
	}
	// From now on no master of an older build gets in.
	if err := c.refusal(dcos.ErrConflict, PutMaster{Master: dcos.Master{ID: 8, Name: "m8", Level: 1}}); !strings.Contains(err.Error(), "install the version") {
		t.Error(err)
	}
	if len(newer) > 0 && !slices.ContainsFunc(registry, func(s commandSpec) bool { return s.level == Level }) {
		t.Errorf("no command needs level %d", Level)
	}
}

// The logs and the states they led to were written by release 0.1.0: each has a
// name, its entries, the hash at the end and a snapshot. Masters of two builds
// apply the same entries while they are upgraded, and must stay equal.
func TestLogsAndSnapshotsOfTheFirstReleaseGiveTheStateTheyGaveThere(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/release-0.1.0/logs.bin.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(unpacked)
	number := func() uint64 {
		n, err := binary.ReadUvarint(in)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	read := func(n uint64) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(in, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	logs := 0
	for ; ; logs++ {
		if _, err := in.Peek(1); err != nil {
			break
		}
		name := string(read(number()))
		s := New()
		for i := range number() {
			if _, _, err := s.Apply(dcos.Index(i+1), read(number())); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		want := rowSum{Lo: binary.LittleEndian.Uint64(read(8)), Hi: binary.LittleEndian.Uint64(read(8))}
		if s.View().t.sum != want {
			t.Errorf("%s: the log leads to a state with hash %x, it was %x in 0.1.0", name, s.View().t.sum, want)
		}
		snapshot := read(number())
		back, err := Restore(bytes.NewReader(snapshot))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if back.View().t.sum != want || dump(back.View()) != dump(s.View()) {
			t.Errorf("%s: the snapshot holds another state", name)
		}
		if now := written(t, s.View()); !bytes.Equal(now, snapshot) {
			t.Errorf("%s: 0.1.0 would not read the snapshot that this build writes", name)
		}
	}
	if logs < 30 {
		t.Errorf("%d logs, want more", logs)
	}
}
