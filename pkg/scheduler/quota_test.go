package scheduler_test

import (
	"strings"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
)

func limitOf(cpus int64) dcos.Quota {
	most := resource.Whole(cpus)
	return dcos.Quota{Limit: resource.Limit{CPUs: &most}}
}

func TestALimitOfARoleHoldsTasksBackUntilItIsRaised(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(3, 8)
	w.must(state.PutRole{Role: "dev"}, state.PutRole{Role: "dev/web"}, state.PutQuota{Role: "dev", Quota: limitOf(5)})
	for _, id := range []string{"/a", "/b"} {
		def := w.parse(id, 4, "")
		def.Role = "dev/web" // the limit is of the role above
		w.must(state.PutApp{App: def})
	}
	w.define("/other", 2, "")
	w.rest()
	placed := func() int { return w.count("/a", dcos.TaskPlaced) + w.count("/b", dcos.TaskPlaced) }
	if n := placed(); n != 5 || w.count("/other", dcos.TaskPlaced) != 2 {
		t.Fatalf("%d of the role are placed, want 5; of others %d", n, w.count("/other", dcos.TaskPlaced))
	}
	why, err := scheduler.Explain(w.store.View(), "/b", w.now)
	if err != nil || len(why.Holds) == 0 || why.Holds[0].Placement == nil {
		t.Fatalf("why: %+v, %v", why, err)
	}
	p := why.Holds[0].Placement
	if p.Reasons[0].Filter != placement.FilterQuota || p.Reasons[0].Nodes != 3 || !strings.Contains(why.Summary, "role dev uses 5 cpus of the 5 that it may") {
		t.Errorf("reasons %+v: %s", p.Reasons, why.Summary)
	}
	if c := p.Smallest(); c == nil || !strings.Contains(why.Holds[0].Words, "be content with") {
		t.Errorf("no change is proposed: %s", why.Holds[0].Words)
	}
	raised := false
	for _, c := range p.Changes {
		raised = raised || c.Kind == placement.ChangeQuota && strings.Contains(c.Words, "to 6 cpus") && c.Nodes == 3
	}
	if !raised {
		t.Errorf("raising the limit is not proposed: %+v", p.Changes)
	}
	w.must(state.PutQuota{Role: "dev", Quota: limitOf(7)})
	w.rest()
	if n := placed(); n != 7 {
		t.Errorf("%d are placed under the limit of 7", n)
	}
	// A task of the role that ends makes room for another.
	w.must(state.PutApp{App: w.parse("/gone", 0, "")})
	w.must(state.DeleteApp{App: "/a", Force: true})
	for range 3 {
		w.rest()
		w.work()
	}
	w.rest()
	if n := w.count("/b", dcos.TaskPlaced) + w.count("/b", dcos.TaskRunning); n != 4 {
		t.Errorf("%d of /b have a place after /a has gone", n)
	}
}

func TestWhatIsReservedIsNotFreeForOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(1, 4)
	w.rest()
	w.must(state.PutRole{Role: "db"})
	w.must(state.Reserve{Reservation: dcos.Reservation{
		ID: "r1", Node: nodeID(0), Role: "db", Resources: resource.Set{CPUs: resource.Whole(3)},
	}})
	w.define("/web", 2, "")
	w.rest()
	if n := w.count("/web", dcos.TaskPlaced); n != 1 {
		t.Fatalf("%d are placed on what is not reserved, want 1", n)
	}
	w.must(state.Unreserve{ID: "r1"})
	w.rest()
	if n := w.count("/web", dcos.TaskPlaced); n != 2 {
		t.Errorf("%d are placed after the reservation was given up, want 2", n)
	}
}
