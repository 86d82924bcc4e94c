// Package api is the HTTP shell around every dialect: listeners, limits,
// authentication and authorisation by one table of routes, forwarding to the
// leader, and how errors become statuses.
//
// It promises that no handler runs before its route's permission was checked,
// that a route which is not in the table does not exist, that bodies and
// headers are bounded, and that a write is forwarded once and never twice. It
// must not know what any route means.
package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/pkg/auth"
)

// Access says who may use a route.
type Access uint8

// The accesses. The zero value is refused when the table is built, so that
// nothing is open by omission.
const (
	Public    Access = iota + 1 // anybody, without authentication
	LoggedIn                    // every authenticated principal
	Permitted                   // principals that hold Route.Need
)

// String is the access in words.
func (a Access) String() string {
	switch a {
	case Public:
		return "public"
	case LoggedIn:
		return "logged in"
	case Permitted:
		return "permitted"
	}
	return "none"
}

// Place says which master answers.
type Place uint8

// The places.
const (
	// AnyMaster answers from its own state.
	AnyMaster Place = iota
	// LeaderOnly is forwarded when it arrives at another master: writes, and
	// what only the leader knows.
	LeaderOnly
)

// Route is one row of the table.
type Route struct {
	Method  string // "" is every method
	Pattern string // path of net/http's ServeMux, with {wildcards}
	Access  Access
	Need    auth.Permission // of Permitted
	Place   Place
	// Stream routes answer for as long as the client listens.
	Stream bool
	// Upload is the largest body; 0 is MaxBody.
	Upload  int64
	Handler http.HandlerFunc
}

// Dialect is the routes of one API and how it writes errors.
type Dialect struct {
	Name   string
	Routes []Route
	// WriteError writes an error in the dialect's shape, status included.
	WriteError func(w http.ResponseWriter, r *http.Request, err error)
}

// Row is a route as the golden list of the tests names it.
func (r Route) Row() string {
	who := r.Access.String()
	if r.Access == Permitted {
		who = r.Need.Action + " " + r.Need.Path
	}
	return fmt.Sprintf("%-7s %s: %s", r.Method, r.Pattern, who)
}

// Table is every route of a server.
type Table struct {
	check *http.ServeMux // finds patterns that clash
	rows  []entry
}

type entry struct {
	Route
	dialect *Dialect
}

// NewTable puts dialects together. It fails when a route has no access, two
// clash, or a permission is empty: a mistake of the program, found at start.
func NewTable(dialects ...Dialect) (*Table, error) {
	t := &Table{check: http.NewServeMux()}
	for i := range dialects {
		d := &dialects[i]
		for _, r := range d.Routes {
			if r.Access < Public || r.Access > Permitted || r.Handler == nil {
				return nil, fmt.Errorf("route %s %s of %s has no access or no handler", r.Method, r.Pattern, d.Name)
			}
			if r.Access == Permitted && (r.Need.Path == "" || r.Need.Action == "") {
				return nil, fmt.Errorf("route %s %s of %s names no permission", r.Method, r.Pattern, d.Name)
			}
			if err := t.add(entry{r, d}); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// mux is the row as a pattern of net/http.
func (e *entry) mux() string { return strings.TrimSpace(e.Method + " " + e.Pattern) }

func (t *Table) add(e entry) (err error) {
	defer func() {
		if p := recover(); p != nil { // the mux panics on patterns that clash
			err = fmt.Errorf("route %s of %s: %v", e.mux(), e.dialect.Name, p)
		}
	}()
	t.check.Handle(e.mux(), http.NotFoundHandler())
	t.rows = append(t.rows, e)
	return nil
}

// Rows are all routes, sorted by path and method, for the test that walks
// them and for documentation.
func (t *Table) Rows() []Route {
	rows := make([]Route, len(t.rows))
	for i, e := range t.rows {
		rows[i] = e.Route
	}
	slices.SortFunc(rows, func(a, b Route) int {
		if c := strings.Compare(a.Pattern, b.Pattern); c != 0 {
			return c
		}
		return strings.Compare(a.Method, b.Method)
	})
	return rows
}
