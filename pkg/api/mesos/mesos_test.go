package mesos

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/api/apitest"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
)

var update = flag.Bool("update", false, "write the golden file anew")

func TestStateSummaryHasMesosShape(t *testing.T) {
	t.Parallel()
	c := apitest.New()
	c.Do(state.PutNode{Node: apitest.Node("n1")}, state.PutNode{Node: apitest.Node("n2")})
	c.Do(state.PutApp{App: dcos.App{
		ID: "/web", Cmd: "sleep 1", Instances: 3, Need: resource.Set{CPUs: resource.Whole(1), Mem: resource.Whole(64)},
		Ports: []dcos.PortDef{{Protocol: "tcp"}}, Backoff: dcos.Backoff{InitialMillis: 1, FactorMilli: 1150, MaxMillis: 1000},
	}})
	ids := c.Run("/web", "n1")
	c.Status(ids[0], dcos.TaskFailed)
	c.Do(state.StopTasks{Tasks: ids[1:2]})
	h := apitest.Handler(apitest.Admin(), Routes(Config{State: c.State(), Leader: func() dcos.MasterID { return 1 }, Log: apitest.Quiet()}))
	w := apitest.Do(h, "GET", "/mesos/master/state-summary", "")
	if other := apitest.Do(h, "GET", "/mesos/state-summary", ""); w.Code != 200 || other.Body.String() != w.Body.String() {
		t.Fatalf("%d %s, and %d %s", w.Code, w.Body, other.Code, other.Body)
	}
	var tree any
	if err := json.Unmarshal(w.Body.Bytes(), &tree); err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(tree, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/state-summary.json"
	if *update {
		if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.TrimSpace(string(want)), string(got)); d != "" {
		t.Errorf("state-summary (-want +got):\n%s", d)
	}
}
