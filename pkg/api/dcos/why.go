package dcos

import (
	"fmt"
	"net/http"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/scheduler"
)

// why answers why an app's instances do not run.
func (s *server) why(w http.ResponseWriter, r *http.Request) error {
	id, err := dcos.ParseAppID(r.PathValue("app"))
	if err != nil {
		return err
	}
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	why, err := scheduler.Explain(v, id, s.State.Time())
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, whyRow(why))
	return nil
}

func whyRow(why scheduler.Why) client.Why {
	out := client.Why{
		App: string(why.App), Running: why.Running, Wanted: why.Wanted, Summary: why.Summary,
		Details: []string{}, Funnel: []client.WhyFilter{}, Suggest: []string{},
	}
	for _, h := range why.Holds {
		out.Details = append(out.Details, count(h.Count, "instance")+": "+h.Words)
		if h.Until != 0 && out.RetryAt == "" {
			out.RetryAt = h.Until.String()
		}
		if p := h.Placement; p != nil && len(out.Funnel) == 0 {
			out.Funnel = funnelOf(p)
			for i := range p.Changes {
				out.Suggest = append(out.Suggest, scheduler.Advice(&p.Changes[i]))
			}
		}
		if h.Cause == scheduler.CauseNoNodes {
			out.Suggest = append(out.Suggest, "add a machine: `dcos install --role agent`")
		}
	}
	if f := why.LastFailure; f != nil {
		out.LastError = &client.TaskFailure{
			AppID: string(why.App), Host: f.Host, Message: f.Message, State: f.State.String(), TaskID: string(f.Task),
			Timestamp: f.At.String(), Version: f.Version.String(), SlaveID: string(f.Node),
		}
		out.Details = append(out.Details, fmt.Sprintf("the last task that failed ran on %s: %s", f.Host, f.Message))
	}
	return out
}

// funnelOf shows how many nodes are left after each filter, for those filters
// that rejected any.
func funnelOf(e *placement.Explanation) []client.WhyFilter {
	out, left := []client.WhyFilter{}, e.Nodes
	for _, r := range e.Reasons {
		left -= r.Nodes
		text := count(r.Nodes, "node") + ": " + r.Words
		if n := len(out); n > 0 && out[n-1].Filter == r.Filter.String() {
			out[n-1].Rejected, out[n-1].Left = out[n-1].Rejected+r.Nodes, left
			out[n-1].Reasons = append(out[n-1].Reasons, text)
			continue
		}
		out = append(out, client.WhyFilter{Filter: r.Filter.String(), Rejected: r.Nodes, Left: left, Reasons: []string{text}})
	}
	return out
}
