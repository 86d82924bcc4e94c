package marathon

import (
	"testing"

	"github.com/dcos-go/dcos/pkg/api/apitest"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// behind is the feed of a master that has missed what came after a view, until
// it asks the others.
type behind struct {
	state.Feed
	old state.View
}

func (b behind) View() state.View { return b.old }

func TestAMasterThatHasMissedWritesRefusesByTheConfirmedState(t *testing.T) {
	t.Parallel()
	c, h := setup(t)
	must(t, h, 201, "POST", "/v2/apps", `{"id":"/gone","cmd":"true","instances":0}`)
	first := must(t, h, 201, "POST", "/v2/apps", `{"id":"/changed","cmd":"true","instances":0}`)
	finish(c)
	s := c.State()
	s.Feed = behind{c, c.View()}
	must(t, h, 200, "DELETE", "/v2/apps/gone", "")
	must(t, h, 201, "POST", "/v2/apps", `{"id":"/new","cmd":"true","instances":0}`)
	changed := must(t, h, 200, "PUT", "/v2/apps/changed?force=true", `{"cmd":"false"}`)
	finish(c)
	c.Do(state.RemoveApp{App: "/gone"})

	d := Routes(Config{State: s, Leader: func() dcos.MasterID { return 1 }, Scheme: "https", Log: apitest.Quiet()})
	late := apitest.Handler(apitest.Admin(), d, d.Mount("/service/marathon"))
	var old client.App
	first.into(t, &old)
	var now client.DeploymentResult
	changed.into(t, &now)
	must(t, late, 412, "PUT", "/v2/apps/changed?force=true", `{"cmd":"true x"}`, "If-Match: "+old.Version)
	must(t, late, 200, "PUT", "/v2/apps/changed?force=true", `{"cmd":"true x"}`, "If-Match: "+now.Version)
	must(t, late, 201, "POST", "/v2/apps", `{"id":"/gone","cmd":"true","instances":0}`)
	must(t, late, 409, "POST", "/v2/apps", `{"id":"/new","cmd":"true","instances":0}`)
	must(t, late, 200, "PATCH", "/v2/apps/new?force=true", `{"cmd":"true x"}`)
	must(t, late, 200, "POST", "/v2/apps/new/restart?force=true", "")
	must(t, late, 200, "DELETE", "/v2/apps/new?force=true", "")
	must(t, late, 404, "DELETE", "/v2/apps/never", "")
}
