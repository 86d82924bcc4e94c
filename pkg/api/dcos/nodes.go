package dcos

import (
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// maxDrain bounds the time that a drain may be given.
const maxDrain = 365 * 24 * time.Hour

// changeNode carries out a write about one node, or says what it would do.
func (s *server) changeNode(w http.ResponseWriter, r *http.Request, would string, command func(id dcos.NodeID) state.Command) error {
	id := dcos.NodeID(r.PathValue("id"))
	dry, err := api.DryRun(r)
	if err != nil {
		return err
	}
	if dry {
		n, ok := s.State.Feed.View().Node(id)
		if !ok {
			return fmt.Errorf("node %.80q: %w", id, dcos.ErrNotFound)
		}
		tasks := 0
		for range s.State.Feed.View().TasksOn(id) {
			tasks++
		}
		return dryRun(w, fmt.Sprintf("%s %s (%s, %s, with %s)", would, id, n.Hostname, n.State, count(tasks, "task")))
	}
	if _, err := s.State.Propose(r, command(id)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) drainNode(w http.ResponseWriter, r *http.Request) error {
	var in client.DrainRequest
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if math.IsNaN(in.DeadlineSeconds) || in.DeadlineSeconds < 0 || in.DeadlineSeconds > maxDrain.Seconds() {
		return fmt.Errorf("%w: deadlineSeconds %v, expected 0 (none) to %v", dcos.ErrInvalid, in.DeadlineSeconds, maxDrain.Seconds())
	}
	would := "drain"
	if in.Remove {
		would = "decommission"
	}
	return s.changeNode(w, r, would, func(id dcos.NodeID) state.Command {
		c := state.DrainNode{Node: id, Remove: in.Remove, Why: in.Why}
		if in.DeadlineSeconds > 0 {
			c.Deadline = s.State.Time().Add(time.Duration(in.DeadlineSeconds * float64(time.Second)))
		}
		return c
	})
}

func (s *server) activateNode(w http.ResponseWriter, r *http.Request) error {
	return s.changeNode(w, r, "end the drain of", func(id dcos.NodeID) state.Command { return state.ActivateNode{Node: id} })
}

func (s *server) removeNode(w http.ResponseWriter, r *http.Request) error {
	gone, err := api.Flag(r.URL.Query(), "gone", false)
	if err != nil {
		return err
	}
	return s.changeNode(w, r, "remove", func(id dcos.NodeID) state.Command {
		retire := state.RetireNode{Node: id, Why: "removed by " + api.PrincipalOf(r.Context()).ID, Gone: gone}
		if !gone && s.State.Feed.View().Admits(retire) != nil {
			return state.RemoveNode{Node: id} // while masters are being upgraded
		}
		return retire
	})
}
