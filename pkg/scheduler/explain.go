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
	CauseLost       Cause = "lost"       // on a lost node, and not given up
	CauseDrain      Cause = "drain"      // to go on elsewhere
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
	return NewExplainer(v, now).Explain(id)
}

// Explainer answers for several apps of one view, whose nodes it lays out
// once. One goroutine uses it.
type Explainer struct {
	view  state.View
	now   dcos.Time
	index *placement.Index // nil until somebody needs it
}

// NewExplainer is an explainer of a view.
func NewExplainer(v state.View, now dcos.Time) *Explainer { return &Explainer{view: v, now: now} }

// Explain says why an app is not what it is to be, and what would help.
func (x *Explainer) Explain(id dcos.AppID) (Why, error) { return x.explain(id, true) }

// Count is Explain without what would help, which takes longer to find out.
func (x *Explainer) Count(id dcos.AppID) (Why, error) { return x.explain(id, false) }

func (x *Explainer) explain(id dcos.AppID, help bool) (Why, error) {
	row, ok := x.view.App(id)
	if !ok {
		return Why{}, fmt.Errorf("%w: app %s", dcos.ErrNotFound, id)
	}
	e := explainer{Explainer: x, row: row, help: help}
	e.why = Why{App: id, Wanted: int(row.App.Instances), LastFailure: row.LastFailure, Failures: row.Backoff.Failures}
	if row.Deleting {
		e.why.Wanted = 0
	}
	if d, ok := x.view.DeploymentOf(id); ok {
		e.why.Deployment = d
	}
	e.sort()
	e.holdWaiting()
	e.summarise()
	return e.why, nil
}

// nodes is the index of the view's nodes. Who changes it forgets it.
func (x *Explainer) nodes() *placement.Index {
	if x.index == nil {
		x.index = indexOf(x.view)
	}
	return x.index
}

// explainer is the work on one app.
type explainer struct {
	*Explainer
	row      *state.AppRow
	help     bool
	why      Why
	starting Hold
	stopping Hold
	lost     Hold
	moving   Hold
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
		e.addMoving(t)
		switch {
		case t.Unreachable != 0:
			e.addLost(t)
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
		for _, g := range groups.groups {
			h := Hold{Count: len(g.tasks), Tasks: g.tasks[:min(len(g.tasks), maxHeld)]}
			if e.row.Backoff.Until > e.now {
				e.holdBack(&h)
			} else {
				e.holdPlace(&h, groups, g)
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
	for _, h := range []Hold{e.lost, e.moving, e.starting, e.stopping} {
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

func (e *explainer) holdPlace(h *Hold, w *waiting, g waitingGroup) {
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
	x := e.nodes()
	if x.Len() == 0 {
		h.Cause, h.Words = CauseNoNodes, "the cluster has no agents: join one with dcos install --role agent"
		return
	}
	r := w.request(e.row, def, rules, g)
	r.Quota = quotaOf(e.view, roleOf(e.row.App), def.Need, nil).refusal()
	var p placement.Explanation
	if e.help {
		p = x.Explain(&r)
	} else {
		p = x.Count(&r)
	}
	h.Placement = &p
	if p.Fit > 0 {
		h.Cause, h.Words = CauseSoon, fmt.Sprintf("%s would take one; the next turn of the scheduler places it", plural(p.Fit, "node", "nodes"))
		return
	}
	h.Cause, h.Words = CausePlacement, refusal(&p)
}

// refusal says why no node takes one more, and the smallest change that helps.
func refusal(p *placement.Explanation) string {
	text := fmt.Sprintf("none of %s takes one more (%s)", plural(p.Nodes, "node", "nodes"), grouped(p.Reasons))
	if c := p.Smallest(); c != nil {
		text += "; to let it run: " + Advice(c)
	}
	return text
}

// maxReasons bounds how many reasons a sentence names; Placement has all.
const maxReasons = 6

// grouped are the reasons with the nodes that each was counted on.
func grouped(reasons []placement.Reason) string {
	var parts []string
	for i, r := range reasons {
		if i == maxReasons {
			rest := 0
			for _, r := range reasons[i:] {
				rest += r.Nodes
			}
			parts = append(parts, fmt.Sprintf("%d: %d other reasons", rest, len(reasons)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%d: %s", r.Nodes, r.Words))
	}
	return strings.Join(parts, "; ")
}

// Advice is a change in words, with how much it helps.
func Advice(c *placement.Change) string {
	if c.Kind == placement.ChangeInstances || c.Kind == placement.ChangeNode {
		return c.Words
	}
	return fmt.Sprintf("%s (%s then)", c.Words, plural(c.Nodes, "node takes it", "nodes take it"))
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
	CauseDeployment: "to come", CauseStarting: "starting", CauseStopping: "stopping", CauseLost: "on lost nodes", CauseDrain: "moving",
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
