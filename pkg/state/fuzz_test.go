package state

import (
	"bytes"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func FuzzApply(f *testing.F) {
	c := populated(f)
	for _, entry := range c.log {
		f.Add(entry)
	}
	start := written(f, c.s.View())
	f.Fuzz(func(t *testing.T, entry []byte) {
		s, err := Restore(bytes.NewReader(start))
		if err != nil {
			t.Fatal(err)
		}
		before := dump(s.View())
		commit, results, err := s.Apply(1000, entry)
		if err != nil {
			if dump(s.View()) != before || results != nil {
				t.Errorf("an entry that stops (%v) changed the state", err)
			}
			return
		}
		if commit.Index != 1000 {
			t.Errorf("commit %+v", commit)
		}
		if err := Check(s.View()); err != nil {
			t.Error(err)
		}
		if err := CheckHash(s.View()); err != nil {
			t.Error(err)
		}
		if got, want := dump(reread(t, s.View()).View()), dump(s.View()); got != want {
			t.Errorf("read back\n%s\nwritten\n%s", got, want)
		}
	})
}

func FuzzRestore(f *testing.F) {
	f.Add(written(f, populated(f).s.View()))
	f.Add(written(f, New().View()))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Restore(bytes.NewReader(b))
		if err != nil {
			return
		}
		if _, _, err := s.Apply(s.View().Index()+1, EncodeEntry(dcos.Time(1))); err != nil {
			t.Error(err)
		}
		reread(t, s.View())
	})
}
