package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/pkg/api/apitest"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestARequestReachesTheAgentThatItNames(t *testing.T) {
	t.Parallel()
	c := apitest.New()
	agents := map[dcos.NodeID]*httptest.Server{}
	for _, id := range []dcos.NodeID{"n1", "n2"} {
		c.Do(state.PutNode{Node: apitest.Node(string(id))})
		agents[id] = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte(string(id) + " " + r.URL.RequestURI() + " " + r.Header.Get("Authorization") + r.Header.Get("Cookie"))) //nolint:errcheck // a test's answer
		}))
		defer agents[id].Close()
	}
	dialled := map[string]int{}
	g := New(Config{Feed: c, Log: apitest.Quiet(), Dial: func(ctx context.Context, node dcos.NodeID, addr string) (net.Conn, error) {
		dialled[addr]++
		if strings.HasPrefix(addr, "n3") {
			return nil, errors.New("certificate of another machine")
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", agents[node].Listener.Addr().String())
	}})
	defer g.Close()
	h := apitest.Handler(apitest.Admin(), g.Routes())
	get := func(path string) *httptest.ResponseRecorder {
		return apitest.Do(h, "GET", path, "", "Authorization: token=secret", "Cookie: dcos-acs-auth-cookie=secret")
	}
	for range 2 {
		w := get("/system/v1/agent/n2/logs/v2/task/t/file/stdout?skip=-3")
		if want := "n2 /system/v1/agent/n2/logs/v2/task/t/file/stdout?skip=-3 "; w.Body.String() != want {
			t.Errorf("%d %q, want %q", w.Code, w.Body, want)
		}
	}
	if w := get("/system/v1/agent/n1/logs/v2/task/t"); !strings.HasPrefix(w.Body.String(), "n1 ") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if dialled["n2.example:7445"] != 1 {
		t.Errorf("dialled n2 %d times, want once", dialled["n2.example:7445"])
	}
	if w := get("/system/v1/agent/nope/logs/v2/task/t"); w.Code != 404 || !strings.Contains(w.Body.String(), "dcos node list") {
		t.Errorf("unknown node: %d %s", w.Code, w.Body)
	}

	moved := apitest.Node("n2")
	moved.Addr = "n2.example:9999"
	c.Do(state.PutNode{Node: moved})
	get("/system/v1/agent/n2/logs/v2/task/t")
	if dialled["n2.example:9999"] != 1 {
		t.Errorf("dialled %v, want the new address", dialled)
	}

	c.Do(state.PutNode{Node: apitest.Node("n3")})
	if w := get("/system/v1/agent/n3/logs/v2/task/t"); w.Code != 503 || !strings.Contains(w.Body.String(), "n3.example:7445 cannot be reached") {
		t.Errorf("agent that cannot be reached: %d %s", w.Code, w.Body)
	}

	c.Do(state.SetNodeState{Node: "n1", Boot: "b1", State: dcos.NodeLost}, state.RemoveNode{Node: "n1"})
	moved.Addr = "n2.example:8888"
	c.Do(state.PutNode{Node: moved})
	get("/system/v1/agent/n2/logs/v2/task/t")
	if _, kept := g.peers["n1"]; kept {
		t.Error("the way to a removed node is kept")
	}
}
