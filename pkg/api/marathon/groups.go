package marathon

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// group is one group of apps. Groups exist as long as an app's id names them.
type group struct {
	ID           string       `json:"id"`
	Apps         []client.App `json:"apps"`
	Groups       []*group     `json:"groups"`
	Pods         []struct{}   `json:"pods"`
	Dependencies []string     `json:"dependencies"`
	EnforceRole  bool         `json:"enforceRole"`
	Version      string       `json:"version"`
}

func newGroup(id, version string) *group {
	return &group{ID: id, Apps: []client.App{}, Groups: []*group{}, Pods: []struct{}{}, Dependencies: []string{}, Version: version}
}

// group is GET /v2/groups and /v2/groups/{id}.
func (s *server) group(w http.ResponseWriter, r *http.Request) error {
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	e := embeds(r.URL.Query()["embed"])
	root := newGroup("/", v.Time().String())
	at := map[string]*group{"": root}
	for row := range v.Apps() {
		if row.Deleting {
			continue
		}
		g := parent(at, root, string(row.App.ID))
		g.Apps = append(g.Apps, renderApp(v, row, e))
	}
	id := strings.Trim(r.PathValue("id"), "/")
	if id != "" {
		id = "/" + id
	}
	g, ok := at[id]
	if !ok {
		return &fault{http.StatusNotFound, fmt.Sprintf("Group '%s' does not exist", id), dcos.ErrNotFound}
	}
	api.WriteJSON(w, http.StatusOK, g)
	return nil
}

// parent finds the group that holds an id, and makes those on the way.
func parent(at map[string]*group, root *group, id string) *group {
	path := id[:strings.LastIndexByte(id, '/')]
	if g, ok := at[path]; ok {
		return g
	}
	above := parent(at, root, path)
	g := newGroup(path, root.Version)
	above.Groups = append(above.Groups, g)
	at[path] = g
	return g
}

func (s *server) noGroups(http.ResponseWriter, *http.Request) error {
	return notYet("changes of groups are")
}
