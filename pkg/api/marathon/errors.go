package marathon

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// fault is an error whose status and words are Marathon's own. It still has a
// kind for everybody else.
type fault struct {
	status  int
	message string
	kind    error
}

func (f *fault) Error() string { return f.message }
func (f *fault) Unwrap() error { return f.kind }

func noApp(id string) error {
	return &fault{http.StatusNotFound, fmt.Sprintf("App '%s' does not exist", id), dcos.ErrNotFound}
}

func noVersion(id dcos.AppID, version string) error {
	return &fault{http.StatusNotFound, fmt.Sprintf("App '%s' does not exist in version %s", id, version), dcos.ErrNotFound}
}

func badRequest(format string, args ...any) error {
	return &fault{http.StatusBadRequest, fmt.Sprintf(format, args...), dcos.ErrInvalid}
}

func notYet(what string) error {
	return &fault{http.StatusUnprocessableEntity, what + " not supported yet", dcos.ErrInvalid}
}

// errPrecondition: the app is not at the version that If-Match names.
func errPrecondition(id dcos.AppID) error {
	return &fault{http.StatusPreconditionFailed, fmt.Sprintf("App '%s' is not at the version of If-Match any more: read it again", id), dcos.ErrConflict}
}

// writeError writes an error as Marathon does (marathon-api section 0).
func (s *server) writeError(w http.ResponseWriter, _ *http.Request, err error) {
	s.headers(w) // errors before the handler was reached come here too
	status, code, hint := api.StatusOf(err)
	body := client.MarathonError{Message: err.Error()}
	var (
		own    *fault
		fields *dcos.InvalidFields
		syntax *app.SyntaxError
		locked state.ErrLocked
	)
	switch {
	case errors.As(err, &own):
		status = own.status
	case errors.As(err, &fields):
		body.Message = "Object is not valid"
		if fields.Parse {
			body.Message = "Invalid JSON"
		}
		body.Details = encoded(api.Fields(fields))
	case errors.As(err, &syntax):
		status, body.Message, body.Details = http.StatusBadRequest, "Invalid JSON", encoded(syntax.Text)
	case errors.As(err, &locked):
		body.Message = fmt.Sprintf("App %s is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'.", locked.App)
		for _, id := range locked.Deployments {
			body.Deployments = append(body.Deployments, client.DeploymentRef{ID: string(id)})
		}
	case status == http.StatusInternalServerError:
		body.Message = "internal error: " + hint
	}
	api.Headers(w, status)
	w.Header().Set("X-Dcos-Error", code) // Marathon's errors have no code
	api.WriteJSON(w, status, body)
}

func encoded(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return nil // texts and lists of texts always encode
	}
	return b
}
