package dcos

import (
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/api/apitest"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestStreamSendsNodesWhoseUsageChanged(t *testing.T) {
	t.Parallel()
	c := apitest.New()
	c.Do(state.PutNode{Node: apitest.Node("n1")}, state.PutNode{Node: apitest.Node("n2")})
	used := map[dcos.NodeID]client.Usage{"n1": {CPUs: 1}}
	s := &server{Config: Config{Usage: func(id dcos.NodeID) (client.Usage, bool) { u, ok := used[id]; return u, ok }}}
	st := &stream{s: s, topics: map[string]bool{"nodes": true}, dirty: map[rowKey]bool{}, view: c.View()}
	flush := time.NewTimer(time.Hour)
	defer flush.Stop()
	look := func(want ...string) {
		t.Helper()
		st.usedAt = time.Time{}
		st.lookAtUsage(flush)
		if len(st.dirty) != len(want) {
			t.Errorf("rows to be sent: %v, want %v", st.dirty, want)
		}
		for _, id := range want {
			if !st.dirty[rowKey{"nodes", id}] {
				t.Errorf("%s is not to be sent", id)
			}
		}
		clear(st.dirty)
	}
	look("n1")
	look()
	used["n1"], used["n2"] = client.Usage{CPUs: 2}, client.Usage{CPUs: 3}
	look("n1", "n2")
}
