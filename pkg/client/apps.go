package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// marathonPath is where clients of DC/OS find Marathon.
const marathonPath = "/service/marathon/v2"

// Write are the options of a change of apps. The zero value is a careful one.
type Write struct {
	Force bool // cancel the deployment that holds the app
	// Replace makes a complete definition of an update: what it does not
	// name gets its default.
	Replace bool
	// IfMatch is the version that the app must have.
	IfMatch string
}

func (w Write) call(method, path string, body any) call {
	k := call{method: method, path: marathonPath + path, body: body, query: url.Values{}, header: map[string]string{}}
	if w.Force {
		k.query.Set("force", "true")
	}
	if w.Replace {
		k.query.Set("partialUpdate", "false")
	}
	if w.IfMatch != "" {
		k.header["If-Match"] = strconv.Quote(w.IfMatch)
	}
	return k
}

// appPath is an app's path in URLs: its slashes stay.
func appPath(id string) string {
	parts := strings.Split(strings.Trim(id, "/"), "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/apps/" + strings.Join(parts, "/")
}

// AppFilter narrows a list of apps; empty fields do not.
type AppFilter struct {
	ID    string // part of the id
	Cmd   string // part of the command
	Label string // label selector
	Tasks bool   // embed the tasks
}

// Apps lists apps with their counts and deployments.
func (c *Client) Apps(ctx context.Context, f AppFilter) ([]App, error) {
	q := url.Values{}
	for name, value := range map[string]string{"id": f.ID, "cmd": f.Cmd, "label": f.Label} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Tasks {
		q.Set("embed", "apps.tasks")
	}
	var out struct{ Apps []App }
	return out.Apps, c.do(ctx, call{method: http.MethodGet, path: marathonPath + "/apps", query: q}, &out)
}

// App is one app with its tasks and last failure.
func (c *Client) App(ctx context.Context, id string) (App, error) {
	var out struct{ App App }
	err := c.do(ctx, call{method: http.MethodGet, path: marathonPath + appPath(id)}, &out)
	return out.App, err
}

// CreateApp makes an app of a definition in Marathon's JSON.
func (c *Client) CreateApp(ctx context.Context, doc []byte) (App, error) {
	var out App
	return out, c.do(ctx, Write{}.call(http.MethodPost, "/apps", doc), &out)
}

// PutApp creates or changes an app.
func (c *Client) PutApp(ctx context.Context, id string, doc []byte, w Write) (DeploymentResult, error) {
	var out DeploymentResult
	return out, c.do(ctx, w.call(http.MethodPut, appPath(id), doc), &out)
}

// TryApp says what creating or changing an app would do, and changes nothing.
func (c *Client) TryApp(ctx context.Context, id string, doc []byte, w Write) (DryRun, error) {
	return c.Try(func(c *Client) error { _, err := c.PutApp(ctx, id, doc, w); return err })
}

// PatchApp changes the fields of an app that a document names, and fails when
// there is no such app.
func (c *Client) PatchApp(ctx context.Context, id string, doc []byte, w Write) (DeploymentResult, error) {
	var out DeploymentResult
	return out, c.do(ctx, w.call(http.MethodPatch, appPath(id), doc), &out)
}

// ScaleApp changes the number of instances of an app that exists.
func (c *Client) ScaleApp(ctx context.Context, id string, instances int, w Write) (DeploymentResult, error) {
	var out DeploymentResult
	return out, c.do(ctx, w.call(http.MethodPatch, appPath(id), map[string]int{"instances": instances}), &out)
}

// RollBackApp brings back the definition of an earlier version.
func (c *Client) RollBackApp(ctx context.Context, id, version string, w Write) (DeploymentResult, error) {
	var out DeploymentResult
	return out, c.do(ctx, w.call(http.MethodPut, appPath(id), map[string]string{"version": version}), &out)
}

// RestartApp replaces all tasks of an app.
func (c *Client) RestartApp(ctx context.Context, id string, w Write) (DeploymentResult, error) {
	var out DeploymentResult
	return out, c.do(ctx, w.call(http.MethodPost, appPath(id)+"/restart", struct{}{}), &out)
}

// DeleteApp deletes an app. Without force it is refused while a deployment
// holds the app.
func (c *Client) DeleteApp(ctx context.Context, id string, w Write) (DeploymentResult, error) {
	k := w.call(http.MethodDelete, appPath(id), nil)
	k.query.Set("force", strconv.FormatBool(w.Force)) // the server's default is true
	var out DeploymentResult
	return out, c.do(ctx, k, &out)
}

// AppVersions are the versions of an app, newest first.
func (c *Client) AppVersions(ctx context.Context, id string) ([]string, error) {
	var out struct{ Versions []string }
	err := c.do(ctx, call{method: http.MethodGet, path: marathonPath + appPath(id) + "/versions"}, &out)
	return out.Versions, err
}

// AppVersion is an app's definition at a version.
func (c *Client) AppVersion(ctx context.Context, id, version string) (App, error) {
	var out App
	return out, c.do(ctx, call{method: http.MethodGet, path: marathonPath + appPath(id) + "/versions/" + url.PathEscape(version)}, &out)
}

// AppTasks are the live tasks of an app.
func (c *Client) AppTasks(ctx context.Context, id string) ([]AppTask, error) {
	var out struct{ Tasks []AppTask }
	err := c.do(ctx, call{method: http.MethodGet, path: marathonPath + appPath(id) + "/tasks"}, &out)
	return out.Tasks, err
}

// Kill says what becomes of the instances of killed tasks: they go on, unless
// Wipe makes new ones instead. Host, when set, is where the tasks must run.
type Kill struct {
	Host string
	Wipe bool
}

// KillAppTasks ends tasks of an app, and answers which.
func (c *Client) KillAppTasks(ctx context.Context, id string, k Kill) ([]AppTask, error) {
	q := url.Values{}
	if k.Host != "" {
		q.Set("host", k.Host)
	}
	if k.Wipe {
		q.Set("wipe", "true")
	}
	var out struct{ Tasks []AppTask }
	err := c.do(ctx, call{method: http.MethodDelete, path: marathonPath + appPath(id) + "/tasks", query: q}, &out)
	return out.Tasks, err
}

// Deployments are the running deployments.
func (c *Client) Deployments(ctx context.Context) ([]DeploymentInfo, error) {
	var out []DeploymentInfo
	return out, c.do(ctx, call{method: http.MethodGet, path: marathonPath + "/deployments"}, &out)
}

// CancelDeployment undoes a deployment by a new one, which is answered; with
// force it only ends it.
func (c *Client) CancelDeployment(ctx context.Context, id string, force bool) (DeploymentResult, error) {
	var out DeploymentResult
	return out, c.do(ctx, Write{Force: force}.call(http.MethodDelete, "/deployments/"+url.PathEscape(id), nil), &out)
}

// WaitDeployment waits until a deployment has ended. progress, when given, is
// called with each of its steps. Neither a lost connection nor a change of the
// leader ends the wait; ctx does.
func (c *Client) WaitDeployment(ctx context.Context, id string, progress func(DeploymentInfo)) error {
	waiting := false
	seen := func(d DeploymentInfo) bool {
		if d.ID == id && progress != nil {
			progress(d)
		}
		return d.ID == id
	}
	for e, err := range c.Stream(ctx, Topics{Names: []string{"deployments"}}) {
		if err != nil {
			return fmt.Errorf("wait for deployment %s: %w", id, err)
		}
		if e.Topic == "deployments" {
			there, err := deploymentIn(e, seen)
			if err != nil {
				return err
			}
			waiting = there || waiting && e.Op != "snapshot" && !(e.Op == "delete" && e.Key == id)
		}
		// A snapshot may come in several parts; a ping follows the last.
		if !waiting && (e.Op == "ping" || e.Op == "delete" && e.Key == id) {
			return nil
		}
	}
	return fmt.Errorf("wait for deployment %s: %w: %w", id, dcos.ErrUnavailable, ctx.Err())
}

// deploymentIn looks through the rows of a frame.
func deploymentIn(e Event, seen func(DeploymentInfo) bool) (bool, error) {
	var rows []DeploymentInfo
	var err error
	switch e.Op {
	case "snapshot", "append":
		rows, err = Rows[DeploymentInfo](e)
	case "upsert":
		var one DeploymentInfo
		one, err = Row[DeploymentInfo](e)
		rows = append(rows, one)
	}
	there := false
	for _, d := range rows {
		there = seen(d) || there
	}
	return there, err
}

// Queue is the launch queue.
func (c *Client) Queue(ctx context.Context) ([]QueueEntry, error) {
	var out Queue
	err := c.do(ctx, call{method: http.MethodGet, path: marathonPath + "/queue"}, &out)
	return out.Queue, err
}

// ResetDelay lets an app that is held back after failures start at once.
func (c *Client) ResetDelay(ctx context.Context, id string) error {
	path := "/queue/" + strings.TrimPrefix(appPath(id), "/apps/") + "/delay"
	return c.do(ctx, Write{}.call(http.MethodDelete, path, nil), nil)
}

// Ping says nil when a master answers at all.
func (c *Client) Ping(ctx context.Context) error {
	var pong string
	err := c.do(ctx, call{method: http.MethodGet, path: "/ping"}, &pong)
	if err == nil && pong != "pong" {
		err = errors.New("no dcos master answers there")
	}
	return err
}
