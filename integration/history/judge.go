package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdict is what is to be said about a history.
type Verdict struct {
	// Problems are empty when the history is legal. An order that cannot be
	// found in time is a problem too.
	Problems []string
	// Culprits are the operations of the apps for which there is no order, a
	// line each.
	Culprits string
	model    porcupine.Model
	info     porcupine.LinearizationInfo
}

// Draw writes the history as a page for a browser.
func (v Verdict) Draw(path string) error { return porcupine.VisualizePath(v.model, v.info, path) }

// Judge looks for one order of the operations of each app that explains all
// answers. It gives up after the limit.
func (r *Recorder) Judge(limit time.Duration) Verdict {
	r.mu.Lock()
	records := slices.Clone(r.records)
	r.mu.Unlock()
	slices.SortStableFunc(records, func(a, b record) int { return cmp.Compare(a.call, b.call) })
	versions, problems := versionsOf(records)
	v := Verdict{model: model(versions), Problems: problems}
	ops := operations(records)
	result, info := porcupine.CheckOperationsVerbose(v.model, ops, limit)
	v.info = info
	switch result {
	case porcupine.Illegal:
		v.Problems = append(v.Problems, "no order of the operations explains what the clients saw")
		v.Culprits = culprits(v.model, ops, limit)
	case porcupine.Unknown:
		v.Problems = append(v.Problems, fmt.Sprintf("no verdict within %v", limit))
	}
	return v
}

func culprits(m porcupine.Model, ops []porcupine.Operation, limit time.Duration) string {
	var b strings.Builder
	for _, part := range byKey(ops) {
		if porcupine.CheckOperationsTimeout(m, part, limit) != porcupine.Illegal {
			continue
		}
		for _, o := range part {
			fmt.Fprintf(&b, "%10v to %10v  client %2d  %s\n", time.Duration(o.Call).Round(10*time.Microsecond),
				time.Duration(o.Return).Round(10*time.Microsecond), o.ClientId, m.DescribeOperation(o.Input, o.Output))
		}
	}
	return b.String()
}

// write names a write of a history.
type write struct{ key, value string }

// versionsOf finds the version that each write got, from every answer that
// tells. A version belongs to one write, and a write to one version, over all
// lives of an app.
func versionsOf(records []record) (map[write]string, []string) {
	versions := map[write]string{}
	writes := map[write]string{} // by key and version
	var problems []string
	for _, k := range records {
		value := k.in.Value
		if k.in.Kind == Read {
			value = k.out.Part
		}
		if k.out.Outcome != Done || k.out.Version == "" || k.in.Kind == Delete {
			continue
		}
		w := write{k.in.Key, value}
		if old, ok := versions[w]; ok && old != k.out.Version {
			problems = append(problems, fmt.Sprintf("write %s of %s has the versions %s and %s", value, w.key, old, k.out.Version))
		}
		at := write{k.in.Key, k.out.Version}
		if old, ok := writes[at]; ok && old != value {
			problems = append(problems, fmt.Sprintf("version %s of %s belongs to the writes %s and %s", k.out.Version, w.key, old, value))
		}
		versions[w], writes[at] = k.out.Version, value
	}
	return versions, problems
}

// operations are the records as porcupine takes them. What has an unknown
// outcome ends when somebody has seen its effect, else after all others.
func operations(records []record) []porcupine.Operation {
	last := int64(0)
	seen := map[write]int64{}
	clients := 1
	for _, k := range records {
		last = max(last, k.end, k.call)
		clients = max(clients, k.client+1)
		if k.in.Kind != Read || k.out.Outcome != Done {
			continue
		}
		for _, value := range []string{k.out.Full, k.out.Part} {
			w := write{k.in.Key, value}
			if first, ok := seen[w]; !ok || k.end < first {
				seen[w] = k.end
			}
		}
	}
	lane := map[int]int{} // a client draws its next line below one that does not end
	out := make([]porcupine.Operation, 0, len(records))
	for _, k := range records {
		end, lost := k.end, k.out.Outcome == Unknown
		if lost {
			end = last + 1
			if at, ok := seen[write{k.in.Key, k.in.Value}]; ok && k.in.Value != "" {
				end = max(at, k.call)
			}
		}
		out = append(out, porcupine.Operation{ClientId: k.client + lane[k.client]*clients, Input: k.in, Output: k.out, Call: k.call, Return: end})
		if lost {
			lane[k.client]++
		}
	}
	return out
}

// app is the model's state: one app.
type app struct {
	there      bool
	full, part string
}

func model(versions map[write]string) porcupine.Model {
	return porcupine.Model{
		Partition: byKey,
		Init:      func() any { return app{} },
		Step: func(state, in, out any) (bool, any) {
			ok, next := step(versions, state.(app), in.(Input), out.(Output))
			return ok, next
		},
		DescribeOperation: func(in, out any) string { return describe(in.(Input), out.(Output)) },
		DescribeState: func(state any) string {
			a := state.(app)
			if !a.there {
				return "no app"
			}
			return fmt.Sprintf("full %s, part %s", a.full, a.part)
		},
	}
}

func byKey(history []porcupine.Operation) [][]porcupine.Operation {
	of := map[string][]porcupine.Operation{}
	for _, o := range history {
		key := o.Input.(Input).Key
		of[key] = append(of[key], o)
	}
	var parts [][]porcupine.Operation
	for _, key := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, of[key])
	}
	return parts
}

// step says whether an app in a state can give an answer, and its next state.
func step(versions map[write]string, a app, in Input, out Output) (bool, app) {
	if in.Kind == Read {
		found := a.there && out.Full == a.full && out.Part == a.part
		return out.Outcome == Done && found || out.Outcome == Missing && !a.there, a
	}
	refusal, next := a.write(versions, in)
	switch {
	case out.Outcome == Unknown && refusal != Done:
		return true, a // it would have been refused
	case out.Outcome == Unknown, out.Outcome == refusal:
		return true, next
	}
	// An app that is not there is not at a version either.
	return in.Kind == Patch && !a.there && in.IfMatch != "" && out.Outcome == Missing, a
}

// write is what a write must be answered with, and what it makes of the app.
func (a app) write(versions map[write]string, in Input) (Outcome, app) {
	whole := app{there: true, full: in.Value, part: in.Value}
	switch {
	case in.IfMatch != "" && (!a.there || versions[write{in.Key, a.part}] != in.IfMatch):
		return Mismatch, a
	case in.Kind == Create && a.there:
		return Exists, a
	case in.Kind == Create, in.Kind == Replace:
		return Done, whole
	case !a.there:
		return Missing, a
	case in.Kind == Patch:
		return Done, app{there: true, full: a.full, part: in.Value}
	}
	return Done, app{}
}

func describe(in Input, out Output) string {
	var b strings.Builder
	b.WriteString(kindWords[in.Kind] + " " + in.Key)
	if in.Value != "" {
		b.WriteString(" " + in.Value)
	}
	if in.IfMatch != "" {
		b.WriteString(" if at " + in.IfMatch)
	}
	b.WriteString(": " + outcomeWords[out.Outcome])
	if in.Kind == Read && out.Outcome == Done {
		fmt.Fprintf(&b, ", full %s, part %s", out.Full, out.Part)
	}
	if out.Version != "" {
		b.WriteString(", version " + out.Version)
	}
	return b.String()
}
