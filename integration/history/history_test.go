package history

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// past makes a history of operations that follow one another; an end of 0 is
// the next moment.
func past(ops ...record) *Recorder {
	r := NewRecorder()
	for i, o := range ops {
		if o.call == 0 {
			o.call = int64(10*i + 1)
		}
		if o.end == 0 {
			o.end = o.call + 5
		}
		r.Add(o.client, o.call, o.end, Operation{o.in, o.out})
	}
	return r
}

func put(value, version string) record {
	return record{in: Input{Kind: Replace, Key: "k", Value: value}, out: Output{Outcome: Done, Version: version}}
}

func read(full, part, version string) record {
	return record{in: Input{Kind: Read, Key: "k"}, out: Output{Outcome: Done, Full: full, Part: part, Version: version}}
}

func did(kind Kind, value, ifMatch string, o Outcome) record {
	return record{in: Input{Kind: kind, Key: "k", Value: value, IfMatch: ifMatch}, out: Output{Outcome: o}}
}

func TestCoreHistoryModelTellsLegalFromIllegal(t *testing.T) {
	t.Parallel()
	lost := did(Replace, "b", "", Unknown)
	early := read("b", "b", "2")
	early.call, early.end = 1, 2
	for name, c := range map[string]struct {
		ops  *Recorder
		want string // a part of the problem; "" is legal
	}{
		"write and read":                       {past(put("a", "1"), read("a", "a", "1"), did(Delete, "", "", Done), did(Read, "", "", Missing)), ""},
		"stale read":                           {past(put("a", "1"), put("b", "2"), read("a", "a", "1")), "no order"},
		"lost write":                           {past(put("a", "1"), did(Read, "", "", Missing)), "no order"},
		"unknown write seen":                   {past(put("a", "1"), lost, read("b", "b", "2")), ""},
		"unknown write not seen":               {past(put("a", "1"), lost, read("a", "a", "1")), ""},
		"unknown write seen late":              {past(put("a", "1"), lost, read("a", "a", "1"), read("b", "b", "2")), ""},
		"unknown write seen and gone":          {past(put("a", "1"), lost, read("b", "b", "2"), read("a", "a", "1")), "no order"},
		"write seen before its call":           {past(early, lost), "no order"},
		"refused creation":                     {past(put("a", "1"), did(Create, "b", "", Exists), read("a", "a", "1")), ""},
		"creation refused of a missing app":    {past(did(Create, "b", "", Exists)), "no order"},
		"creation twice":                       {past(did(Create, "a", "", Done), did(Create, "b", "", Done)), "no order"},
		"patch keeps the rest":                 {past(put("a", "1"), did(Patch, "b", "", Done), read("a", "b", "2")), ""},
		"patch loses the rest":                 {past(put("a", "1"), did(Patch, "b", "", Done), read("b", "b", "2")), "no order"},
		"lost update under a patch":            {past(put("a", "1"), put("c", "2"), did(Patch, "b", "", Done), read("a", "b", "3")), "no order"},
		"patch at a version of a missing app":  {past(put("a", "1"), did(Delete, "", "", Done), did(Patch, "b", "1", Missing), did(Patch, "c", "1", Mismatch)), ""},
		"patch of a missing app":               {past(did(Patch, "b", "", Missing), put("a", "1"), did(Patch, "c", "", Missing)), "no order"},
		"version matches":                      {past(put("a", "1"), did(Replace, "b", "1", Done), read("b", "b", "2")), ""},
		"old version accepted":                 {past(put("a", "1"), put("b", "2"), did(Replace, "c", "1", Done)), "no order"},
		"present version refused":              {past(put("a", "1"), did(Replace, "b", "1", Mismatch)), "no order"},
		"version refused behind an unknown":    {past(put("a", "1"), lost, did(Replace, "c", "1", Mismatch)), ""},
		"one version for two writes":           {past(put("a", "1"), put("b", "1")), "belongs to the writes"},
		"one version in two lives of an app":   {past(put("a", "1"), did(Delete, "", "", Done), put("b", "1")), "belongs to the writes"},
		"version of a former life accepted":    {past(put("a", "1"), did(Delete, "", "", Done), put("b", "2"), did(Replace, "c", "1", Done)), "no order"},
		"two versions of one write":            {past(put("a", "1"), read("a", "a", "2")), "has the versions"},
		"delete of a missing app":              {past(did(Delete, "", "", Done)), "no order"},
		"unknown delete":                       {past(put("a", "1"), did(Delete, "", "", Unknown), did(Read, "", "", Missing)), ""},
		"unknown delete brings nothing back":   {past(put("a", "1"), did(Delete, "", "", Unknown), did(Read, "", "", Missing), read("a", "a", "1")), "no order"},
		"two apps are apart":                   {past(put("a", "1"), record{in: Input{Kind: Read, Key: "other"}, out: Output{Outcome: Missing}}), ""},
		"unknown creation explains a conflict": {past(did(Create, "a", "", Unknown), did(Create, "b", "", Exists), read("a", "a", "1")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := c.ops.Judge(time.Minute)
			got := strings.Join(v.Problems, "; ")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("problems %q, want %q", got, c.want)
			}
			page := filepath.Join(t.TempDir(), "h.html")
			if err := v.Draw(page); err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), kindWords[c.ops.records[0].in.Kind]) {
				t.Errorf("the page does not show the history: %v", err)
			}
		})
	}
}

func TestCoreHistoryCountsRequestsByOutcome(t *testing.T) {
	t.Parallel()
	r := past(put("a", "1"), did(Delete, "", "", Unknown))
	at := r.Now()
	r.Add(1, at, r.Now(), Operation{Input{Key: "k"}, Output{Outcome: Missing}}, Operation{Input{Key: "l"}, Output{Outcome: Missing}})
	if n := r.Requests(); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
	if n := r.Count(Missing); n != 2 {
		t.Errorf("%d operations found nothing, want 2", n)
	}
	if n := r.Count(Unknown); n != 1 {
		t.Errorf("%d operations of unknown outcome, want 1", n)
	}
}
