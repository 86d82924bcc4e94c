package scheduler

import (
	"fmt"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/state"
)

// Cause is what keeps instances from running.
type Cause string

// The causes.
const (
	CauseBackoff    Cause = "backoff"    // the app failed and is held back for a while
	CauseNoNodes    Cause = "no-nodes"   // the cluster has no agents
	CausePlacement  Cause = "placement"  // no node passes every filter
	CauseSoon       Cause = "soon"       // nothing; the next turn places it
	CauseDeployment Cause = "deployment" // the deployment does other things first
	CauseStarting   Cause = "starting"   // on its node, not running yet
	CauseStopping   Cause = "stopping"   // told to stop; goes on or ends afterwards
)

// Why is the answer to what keeps an app from being what it is to be.
type Why struct {
	App     dcos.AppID
	Summary string // one sentence

	Wanted   int
	Running  int
	Starting int // on a node, not running yet
	Waiting  int // for a place
	Stopping int
	Missing  int // not even waiting yet

	Deployment  *dcos.Deployment   // nil for none
	LastFailure *state.LastFailure // nil for none
	Failures    uint32             // in a row
	Holds       []Hold             // what is furthest from running first
}

// Hold is instances that are kept back by the same thing.
type Hold struct {
	Cause Cause
	Count int
	Tasks []dcos.TaskID // the first few
	Words string
	// Until is when a backoff ends.
	Until dcos.Time
	// Placement is what stands in the way on the nodes, for CausePlacement
	// and CauseSoon.
	Placement *placement.Explanation
}

const maxHeld = 10

// Explain says why an app is not what it is to be. It needs nothing but the
// view, so that any master can answer.
func Explain(v state.View, id dcos.AppID, now dcos.Time) (Why, error) {
	row, ok := v.App(id)
	if !ok {
		return Why{}, fmt.Errorf("%w: app %s", dcos.ErrNotFound, id)
	}
	e := explainer{view: v, row: row, now: now}
	e.why = Why{App: id, Wanted: int(row.App.Instances), LastFailure: row.LastFailure, Failures: row.Backoff.Failures}
	if row.Deleting {
		e.why.Wanted = 0
	}
	if d, ok := v.DeploymentOf(id); ok {
		e.why.Deployment = d
	}
	e.sort()
	e.holdWaiting()
	e.summarise()
	return e.why, nil
}

type explainer struct {
	view     state.View
	row      *state.AppRow
	now      dcos.Time
	why      Why
	starting Hold
	stopping Hold
}

func (h *Hold) add(id dcos.TaskID) {
	h.Count++
	if len(h.Tasks) < maxHeld {
		h.Tasks = append(h.Tasks, id)
	}
}

// sort counts the instances and collects what is on its way.
func (e *explainer) sort() {
	w := &e.why
	e.starting = Hold{Cause: CauseStarting, Words: "placed; the agent fetches what they need and starts them"}
	e.stopping = Hold{Cause: CauseStopping, Words: "told to stop; they end when their agent says so"}
	quiet := 0
	instances := 0
	for t := range e.view.TasksOf(e.row.App.ID) {
		if !t.Final {
			instances++
		}
		switch {
		case t.Live() && t.Goal == dcos.GoalStop:
			w.Stopping++
			e.stopping.add(t.ID)
		case t.State == dcos.TaskRunning:
			w.Running++
		case t.Live():
			w.Starting++
			e.starting.add(t.ID)
			if n, ok := e.view.Node(t.Node); ok && n.State != dcos.NodeActive {
				quiet++
			}
		case t.State == dcos.TaskWaiting:
			w.Waiting++
		default: // ended, to be tried again
			w.Missing++
		}
	}
	if quiet > 0 {
		e.starting.Words += fmt.Sprintf(" (%d of them on nodes that do not answer at present)", quiet)
	}
	w.Missing += max(0, w.Wanted-instances)
}

// holdWaiting says for each group of waiting tasks what keeps it.
func (e *explainer) holdWaiting() {
	w := &e.why
	if w.Waiting > 0 && !e.row.Deleting {
		groups := waitingOf(e.view, e.row.App.ID, nil)
		var x *placement.Index
		for _, g := range groups.groups {
			h := Hold{Count: len(g.tasks), Tasks: g.tasks[:min(len(g.tasks), maxHeld)]}
			if e.row.Backoff.Until > e.now {
				e.holdBack(&h)
			} else {
				if x == nil {
					x = indexOf(e.view)
				}
				e.holdPlace(&h, x, &groups, g)
			}
			w.Holds = append(w.Holds, h)
		}
	}
	if w.Missing > 0 && !e.row.Deleting {
		h := Hold{Cause: CauseSoon, Count: w.Missing, Words: "not asked for yet; the next turn of the scheduler does it"}
		if w.Deployment != nil {
			h.Cause = CauseDeployment
			h.Words = fmt.Sprintf("the deployment %s (%s, step %d of %d) makes them as old instances go, within the upgrade strategy",
				w.Deployment.ID, actionOf(w.Deployment), w.Deployment.Step, len(w.Deployment.Steps))
		}
		w.Holds = append(w.Holds, h)
	}
	for _, h := range []Hold{e.starting, e.stopping} {
		if h.Count > 0 {
			w.Holds = append(w.Holds, h)
		}
	}
}

func (e *explainer) holdBack(h *Hold) {
	h.Cause, h.Until = CauseBackoff, e.row.Backoff.Until
	h.Words = fmt.Sprintf("held back until %s after %s", h.Until, plural(int(e.row.Backoff.Failures), "failure in a row", "failures in a row"))
	if f := e.row.LastFailure; f != nil {
		h.Words += fmt.Sprintf("; the last one on %s: %s %s", f.Host, f.State, f.Message)
	}
}

func (e *explainer) holdPlace(h *Hold, x *placement.Index, w *waiting, g waitingGroup) {
	def, ok := e.view.AppAt(e.row.App.ID, g.version)
	if !ok {
		h.Cause, h.Words = CauseDeployment, "their definition is no longer kept; they are replaced"
		return
	}
	rules, err := placement.Compile(def.Constraints)
	if err != nil {
		h.Cause, h.Words = CausePlacement, fmt.Sprintf("the app's constraints cannot be used: %v; change them", err)
		return
	}
	if x.Len() == 0 {
		h.Cause, h.Words = CauseNoNodes, "the cluster has no agents: join one with dcos install --role agent"
		return
	}
	r := w.request(e.row, def, rules, g)
	p := x.Explain(&r)
	h.Placement = &p
	if p.Fit > 0 {
		h.Cause, h.Words = CauseSoon, fmt.Sprintf("%s would take one; the next turn of the scheduler places it", plural(p.Fit, "node", "nodes"))
		return
	}
	h.Cause = CausePlacement
	parts := make([]string, len(p.Reasons))
	for i, reason := range p.Reasons {
		parts[i] = fmt.Sprintf("%d: %s", reason.Nodes, reason.Words)
	}
	h.Words = fmt.Sprintf("none of %s takes one more (%s)", plural(p.Nodes, "node", "nodes"), strings.Join(parts, "; "))
	if p.Smallest != nil {
		h.Words += fmt.Sprintf("; to let it run: %s (%s then)", p.Smallest.Words, plural(p.Smallest.Nodes, "node takes it", "nodes take it"))
	}
}

// indexOf is the nodes of a view, laid out for searching.
func indexOf(v state.View) *placement.Index {
	x := placement.New()
	for n := range v.Nodes() {
		free, _ := v.Free(n.ID)
		x.Update(n, free)
	}
	return x
}

func (e *explainer) summarise() {
	w := &e.why
	switch {
	case e.row.Deleting:
		w.Summary = fmt.Sprintf("%s is being deleted; %s to stop", w.App, plural(w.Stopping+w.Running+w.Starting, "task has", "tasks have"))
	case w.Running == w.Wanted && len(w.Holds) == 0 && w.Deployment == nil:
		w.Summary = fmt.Sprintf("%s runs as wanted: %d of %s", w.App, w.Running, plural(w.Wanted, "instance", "instances"))
	default:
		w.Summary = fmt.Sprintf("%s: %d of %s running", w.App, w.Running, plural(w.Wanted, "instance", "instances"))
		if len(w.Holds) > 0 {
			h := w.Holds[0]
			w.Summary += fmt.Sprintf("; %d %s: %s", h.Count, causeWords[h.Cause], h.Words)
		} else if w.Deployment != nil {
			w.Summary += fmt.Sprintf("; the deployment %s (%s) is about to end", w.Deployment.ID, actionOf(w.Deployment))
		}
	}
}

var causeWords = map[Cause]string{
	CauseBackoff: "waiting", CauseNoNodes: "waiting", CausePlacement: "waiting", CauseSoon: "waiting",
	CauseDeployment: "to come", CauseStarting: "starting", CauseStopping: "stopping",
}

func actionOf(d *dcos.Deployment) dcos.Action {
	if d.Step >= 1 && d.Step <= len(d.Steps) {
		return d.Steps[d.Step-1]
	}
	return ""
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
