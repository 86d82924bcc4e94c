package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Query narrows, sorts and cuts a list.
type Query struct {
	Filter string // "state=lost,cpus>2"
	Sort   string // "-cpus"
	Limit  int    // rows of one page; 0 is the server's choice
	Cursor string // of the page before
	Stale  bool   // what the master that answers has, even without a leader
}

func (q Query) values() url.Values {
	out := url.Values{}
	for name, value := range map[string]string{"filter": q.Filter, "sort": q.Sort, "cursor": q.Cursor} {
		if value != "" {
			out.Set(name, value)
		}
	}
	if q.Limit > 0 {
		out.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Stale {
		out.Set("stale", "true")
	}
	return out
}

func (c *Client) get(ctx context.Context, path string, q url.Values, into any) error {
	return c.do(ctx, call{method: http.MethodGet, path: "/dcos/v1/" + path, query: q}, into)
}

// List is one page of a list under /dcos/v1.
func list[T any](ctx context.Context, c *Client, path string, q Query) (List[T], error) {
	var out List[T]
	return out, c.get(ctx, path, q.values(), &out)
}

// All reads a list to its end, page by page, as in
// All(ctx, c.Nodes, Query{}). When a row at the end of a page goes away
// meanwhile it begins again, a few times.
func All[T any](ctx context.Context, page func(context.Context, Query) (List[T], error), q Query) ([]T, error) {
	if q.Limit == 0 {
		q.Limit = 1000
	}
	for try := 0; ; try++ {
		rows, err := all(ctx, page, q)
		if e := (&Error{}); err == nil || try == 3 || !asError(err, &e) || e.Status != http.StatusConflict {
			return rows, err
		}
	}
}

func all[T any](ctx context.Context, page func(context.Context, Query) (List[T], error), q Query) ([]T, error) {
	var rows []T
	for {
		l, err := page(ctx, q)
		if err != nil {
			return nil, err
		}
		rows = append(rows, l.Items...)
		if l.Cursor == "" {
			return rows, nil
		}
		q.Cursor = l.Cursor
	}
}

// Nodes lists nodes.
func (c *Client) Nodes(ctx context.Context, q Query) (List[Node], error) {
	return list[Node](ctx, c, "nodes", q)
}

// Node is one node.
func (c *Client) Node(ctx context.Context, id string) (Node, error) {
	var out Node
	return out, c.get(ctx, "nodes/"+url.PathEscape(id), nil, &out)
}

// RemoveNode takes a lost node out of the cluster for good: its certificate is
// refused from then on. With gone its tasks are given up too that wait for it:
// the caller knows that the machine is off and stays so.
func (c *Client) RemoveNode(ctx context.Context, id string, gone bool) error {
	path := "/dcos/v1/nodes/" + url.PathEscape(id)
	if gone {
		path += "?gone=true"
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path}, nil)
}

// DrainNode moves a node's tasks elsewhere.
func (c *Client) DrainNode(ctx context.Context, id string, how DrainRequest) error {
	return c.do(ctx, call{method: http.MethodPost, path: "/dcos/v1/nodes/" + url.PathEscape(id) + "/drain", body: how}, nil)
}

// ActivateNode ends a drain.
func (c *Client) ActivateNode(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodPost, path: "/dcos/v1/nodes/" + url.PathEscape(id) + "/activate"}, nil)
}

// RemoveMaster takes a dead master out of the group.
func (c *Client) RemoveMaster(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/dcos/v1/masters/" + url.PathEscape(id)}, nil)
}

// LeaveMaster takes a master out of the group that may be alive: it hands over
// leadership first. It may be repeated until it is answered.
func (c *Client) LeaveMaster(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/dcos/v1/masters/" + url.PathEscape(id), query: url.Values{"leave": {"true"}}}, nil)
}

// ChangeMaster makes a master a voter ("promote"), a learner ("demote") or the
// leader ("lead"). It may be repeated until it is answered.
func (c *Client) ChangeMaster(ctx context.Context, id, change string) error {
	return c.do(ctx, call{method: http.MethodPost, path: "/dcos/v1/masters/" + url.PathEscape(id) + "/" + change}, nil)
}

// Snapshot streams the whole state into a writer and gives its index. The
// stream's own hash says whether it is whole.
func (c *Client) Snapshot(ctx context.Context, into io.Writer) (index uint64, err error) {
	res, err := c.send(ctx, call{method: http.MethodPost, path: "/dcos/v1/snapshot"})
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if index, err = strconv.ParseUint(res.Header.Get("X-Dcos-Index"), 10, 64); err != nil {
		return 0, fmt.Errorf("%w: the answer is no snapshot", dcos.ErrUnavailable)
	}
	if _, err := io.Copy(into, res.Body); err != nil {
		return 0, fmt.Errorf("%w: the snapshot broke off: %w", dcos.ErrUnavailable, err)
	}
	return index, nil
}

// Tasks lists tasks, also ended ones that are kept.
func (c *Client) Tasks(ctx context.Context, q Query) (List[Task], error) {
	return list[Task](ctx, c, "tasks", q)
}

// Task is one task.
func (c *Client) Task(ctx context.Context, id string) (Task, error) {
	var out Task
	return out, c.get(ctx, "tasks/"+url.PathEscape(id), nil, &out)
}

// KillTask ends a task; its instance goes on with a new one.
func (c *Client) KillTask(ctx context.Context, id string) (Task, error) {
	var out Task
	return out, c.do(ctx, call{method: http.MethodPost, path: "/dcos/v1/tasks/" + url.PathEscape(id) + "/kill"}, &out)
}

// Services lists apps with their packages.
func (c *Client) Services(ctx context.Context, q Query) (List[Service], error) {
	return list[Service](ctx, c, "services", q)
}

// Service is one of them.
func (c *Client) Service(ctx context.Context, id string) (Service, error) {
	var out Service
	return out, c.get(ctx, "services/"+strings.TrimPrefix(appPath(id), "/apps/"), nil, &out)
}

// InstalledPackages lists what is installed, in brief.
func (c *Client) InstalledPackages(ctx context.Context, q Query) (List[InstalledPackage], error) {
	return list[InstalledPackage](ctx, c, "packages", q)
}

// Events lists the latest writes, newest first.
func (c *Client) Events(ctx context.Context, q Query) (List[Event], error) {
	return list[Event](ctx, c, "events", q)
}

// Masters lists the masters.
func (c *Client) Masters(ctx context.Context, q Query) (List[MasterStatus], error) {
	return list[MasterStatus](ctx, c, "masters", q)
}

// Cluster is the cluster in one row.
func (c *Client) Cluster(ctx context.Context) (ClusterStatus, error) {
	var out ClusterStatus
	return out, c.get(ctx, "cluster", nil, &out)
}

// Why says why an app's instances do not run.
func (c *Client) Why(ctx context.Context, app string) (Why, error) {
	var out Why
	return out, c.get(ctx, "why/"+strings.TrimPrefix(appPath(app), "/apps/"), nil, &out)
}

// Version is what the master that answers was built of.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var out Version
	return out, c.get(ctx, "version", nil, &out)
}

// StateWords are the words for states with their glyphs.
func (c *Client) StateWords(ctx context.Context) ([]StateWord, error) {
	var out struct{ States []StateWord }
	err := c.get(ctx, "meta/enums", nil, &out)
	return out.States, err
}

// Tokens lists join tokens, without their secrets.
func (c *Client) Tokens(ctx context.Context, q Query) (List[TokenRow], error) {
	return list[TokenRow](ctx, c, "tokens", q)
}

// CreateToken makes a join token for a role, master or agent. The answer is
// the only place where it can be read.
func (c *Client) CreateToken(ctx context.Context, role string) (JoinToken, error) {
	var out JoinToken
	return out, c.do(ctx, call{method: http.MethodPost, path: "/dcos/v1/tokens", body: TokenRequest{Role: role}}, &out)
}

// RemoveToken makes a join token void.
func (c *Client) RemoveToken(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/dcos/v1/tokens/" + url.PathEscape(id)}, nil)
}

// Me is who the token stands for.
func (c *Client) Me(ctx context.Context) (User, error) {
	var out User
	return out, c.get(ctx, "me", nil, &out)
}

// Users lists users.
func (c *Client) Users(ctx context.Context, q Query) (List[User], error) {
	return list[User](ctx, c, "users", q)
}

// CreateUser makes a user.
func (c *Client) CreateUser(ctx context.Context, u User) (User, error) {
	var out User
	return out, c.do(ctx, call{method: http.MethodPost, path: "/dcos/v1/users", body: u}, &out)
}

// RemoveUser deletes a user.
func (c *Client) RemoveUser(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/dcos/v1/users/" + url.PathEscape(id)}, nil)
}

// SetPassword gives a user a new password; their tokens become void.
func (c *Client) SetPassword(ctx context.Context, id, password string) error {
	return c.do(ctx, call{method: http.MethodPost, path: "/dcos/v1/users/" + url.PathEscape(id) + "/password", body: Password{password}}, nil)
}

// Login exchanges a password for a bearer token. Use it by As.
func (c *Client) Login(ctx context.Context, uid, password string) (string, error) {
	return c.login(ctx, Login{UID: uid, Password: password})
}

// LoginOnce exchanges a token that works once, as in a login link, for a
// bearer token.
func (c *Client) LoginOnce(ctx context.Context, once string) (string, error) {
	return c.login(ctx, Login{Token: once})
}

func (c *Client) login(ctx context.Context, in Login) (string, error) {
	var out Login
	err := c.do(ctx, call{method: http.MethodPost, path: "/acs/api/v1/auth/login", body: in}, &out)
	if err == nil && out.Token == "" {
		err = fmt.Errorf("%w: the login was answered without a token", dcos.ErrUnavailable)
	}
	return out.Token, err
}
