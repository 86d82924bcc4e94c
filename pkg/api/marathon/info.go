package marathon

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
)

// listDeployments is GET /v2/deployments.
func (s *server) listDeployments(w http.ResponseWriter, r *http.Request) error {
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	out := []client.DeploymentInfo{}
	for d := range v.Deployments() {
		out = append(out, renderDeployment(d))
	}
	slices.SortStableFunc(out, func(a, b client.DeploymentInfo) int { return strings.Compare(a.Version, b.Version) })
	api.WriteJSON(w, http.StatusOK, out)
	return nil
}

// cancelDeployment is DELETE /v2/deployments/{id}: without force the change is
// undone by a deployment back, with force it stops where it is.
func (s *server) cancelDeployment(w http.ResponseWriter, r *http.Request) error {
	o, err := s.options(r, false)
	if err != nil {
		return err
	}
	id := dcos.DeploymentID(r.PathValue("id"))
	noDeployment := &fault{http.StatusNotFound, fmt.Sprintf("Deployment '%s' does not exist", id), dcos.ErrNotFound}
	d, ok := s.State.Feed.View().Deployment(id)
	if !ok {
		return noDeployment
	}
	if o.dryRun {
		would := fmt.Sprintf("end deployment %s and bring app %s back to what it was before", id, d.App)
		if o.force {
			would = fmt.Sprintf("end deployment %s and leave app %s as it is now", id, d.App)
		}
		api.WriteJSON(w, http.StatusOK, client.DryRun{DryRun: true, Would: []string{would}})
		return nil
	}
	res, err := s.State.Propose(r, state.CancelDeployment{ID: id, Force: o.force})
	switch {
	case errors.Is(err, dcos.ErrNotFound):
		return noDeployment
	case err != nil:
		return err
	case o.force:
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	answer(w, http.StatusOK, res)
	return nil
}

// queue is GET /v2/queue.
func (s *server) queue(w http.ResponseWriter, r *http.Request) error {
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	now, out := s.State.Time(), []client.QueueEntry{}
	explainer := scheduler.NewExplainer(v, now) // one layout of the nodes for all that wait
	for id, n := range v.WaitingApps() {
		row, err := shown(v, id)
		if err != nil {
			continue
		}
		entry := client.QueueEntry{App: app.Render(row.App), Count: n, Role: "*", Since: since(v, id), Delay: delayOf(row, now)}
		why, err := explainer.Count(id)
		if err != nil {
			return fmt.Errorf("explain why %s waits: %w", id, err)
		}
		entry.ProcessedOffersSummary = summary(why)
		out = append(out, entry)
	}
	api.WriteJSON(w, http.StatusOK, client.Queue{Queue: out})
	return nil
}

func since(v state.View, id dcos.AppID) string {
	var first dcos.Time
	for k := range v.TasksOf(id) {
		if k.State == dcos.TaskWaiting && (first == 0 || k.CreatedAt < first) {
			first = k.CreatedAt
		}
	}
	return first.String()
}

func delayOf(row *state.AppRow, now dcos.Time) client.QueueDelay {
	left := row.Backoff.Until - now
	if left <= 0 {
		return client.QueueDelay{Overdue: true}
	}
	return client.QueueDelay{TimeLeftSeconds: int((left + 999) / 1000)}
}

// funnel are Marathon's reasons in their order, with the filters of ours that
// each stands for.
var funnel = []struct {
	reason  string
	filters []placement.Filter
}{
	{"UnfulfilledRole", []placement.Filter{placement.FilterRole, placement.FilterQuota}},
	{"UnfulfilledConstraint", []placement.Filter{placement.FilterConstraint, placement.FilterImages}},
	{"NoCorrespondingReservationFound", nil},
	{"AgentMaintenance", []placement.Filter{placement.FilterInactive, placement.FilterDrained}},
	{"InsufficientCpus", []placement.Filter{placement.FilterCPUs}},
	{"InsufficientMemory", []placement.Filter{placement.FilterMem}},
	{"InsufficientDisk", []placement.Filter{placement.FilterDisk}},
	{"InsufficientGpus", []placement.Filter{placement.FilterGPUs}},
	{"InsufficientPorts", []placement.Filter{placement.FilterPorts}},
	{"DeclinedScarceResources", nil},
}

// summary shows nodes as Marathon shows offers: one from each.
func summary(why scheduler.Why) client.OffersSummary {
	var rejected [placement.Filters]int
	nodes, refused := 0, 0
	for _, h := range why.Holds {
		if h.Placement == nil {
			continue
		}
		nodes = h.Placement.Nodes
		for _, r := range h.Placement.Reasons {
			rejected[r.Filter] += r.Nodes
			refused += r.Nodes
		}
		break
	}
	rows, left := make([]client.RejectSummary, len(funnel)), nodes
	for i, step := range funnel {
		rows[i] = client.RejectSummary{Reason: step.reason, Processed: left}
		for _, f := range step.filters {
			rows[i].Declined += rejected[f]
		}
		left -= rows[i].Declined
	}
	return client.OffersSummary{
		ProcessedOffersCount: nodes, UnusedOffersCount: refused,
		RejectSummaryLastOffers: rows, RejectSummaryLaunchAttempt: rows,
	}
}

// resetDelay is DELETE /v2/queue/{id}/delay.
func (s *server) resetDelay(w http.ResponseWriter, r *http.Request) error {
	path, ok := strings.CutSuffix(r.PathValue("id"), "/delay")
	if !ok {
		return fmt.Errorf("%w: %s %s", api.ErrMethod, r.Method, r.URL.Path)
	}
	id, err := appID(path)
	if err != nil {
		return err
	}
	o, err := s.options(r, false)
	if err != nil {
		return err
	}
	waits := false
	for waiting := range s.State.Feed.View().WaitingApps() {
		waits = waits || waiting == id
	}
	if !waits {
		return &fault{http.StatusNotFound, fmt.Sprintf("App '%s' not found in task queue", id), dcos.ErrNotFound}
	}
	if o.dryRun {
		api.WriteJSON(w, http.StatusOK, client.DryRun{DryRun: true, Would: []string{fmt.Sprintf("let app %s start its waiting instances at once", id)}})
		return nil
	}
	if _, err := s.State.Propose(r, state.ResetBackoff{App: id}); err != nil {
		return gone(err, id)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// info is GET /v2/info.
func (s *server) info(w http.ResponseWriter, _ *http.Request) error {
	leader := s.leaderAddr()
	cluster, _ := s.State.Feed.View().Cluster()
	out := map[string]any{
		"name": "marathon", "version": version, "buildref": s.Version.Version + " " + s.Version.Commit, "elected": leader != "",
		"frameworkId": cluster.ID,
		"marathon_config": map[string]any{
			"features": []string{}, "local_port_min": 10000, "local_port_max": 20000, "framework_name": "marathon",
			"failover_timeout": 604800, "ha": true, "checkpoint": true, "executor": "//cmd", "mesos_role": "*", "hostname": leader,
			"max_instances_per_offer": 5, "task_launch_timeout": 300000, "task_launch_confirm_timeout": 300000, "task_reservation_timeout": 20000,
			"reconciliation_initial_delay": 15000, "reconciliation_interval": 600000, "scale_apps_initial_delay": 15000,
			"scale_apps_interval": 300000, "new_group_enforce_role": "off",
		},
		"zookeeper_config": map[string]any{},
		"http_config":      map[string]any{"http_port": nil, "https_port": nil},
	}
	if leader != "" {
		out["leader"] = leader
	}
	api.WriteJSON(w, http.StatusOK, out)
	return nil
}

// leader is GET /v2/leader.
func (s *server) leader(w http.ResponseWriter, _ *http.Request) error {
	addr := s.leaderAddr()
	if addr == "" {
		return &fault{http.StatusNotFound, "There is no leader", dcos.ErrNotFound}
	}
	api.WriteJSON(w, http.StatusOK, map[string]string{"leader": addr})
	return nil
}

// plugins is GET /v2/plugins: there are none.
func (s *server) plugins(w http.ResponseWriter, _ *http.Request) error {
	api.WriteJSON(w, http.StatusOK, map[string]any{"plugins": []struct{}{}})
	return nil
}
