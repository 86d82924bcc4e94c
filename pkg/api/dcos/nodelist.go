package dcos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// nodeItem is a row of the list of nodes as of some index, without what the
// node uses now. It is never changed.
type nodeItem struct {
	client.Node
	text []byte // the row in JSON; it ends with a brace
}

// nodeMemo keeps the rows of all nodes, so that pages of one state, and
// requests that come at the same time, share the work.
type nodeMemo struct {
	mu    sync.Mutex
	index dcos.Index // guarded by mu
	items []*nodeItem
}

// at is the rows as of a view or a later one, in the order of ids. The caller
// must not change them.
func (m *nodeMemo) at(v state.View, row func(state.View, *dcos.Node) client.Node) (dcos.Index, []*nodeItem, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.items != nil && m.index >= v.Index() {
		return m.index, m.items, nil
	}
	items := make([]*nodeItem, 0, len(m.items))
	for n := range v.Nodes() {
		item := &nodeItem{Node: row(v, n)}
		var err error
		if item.text, err = json.Marshal(item.Node); err != nil {
			return 0, nil, fmt.Errorf("encode node %s: %w", n.ID, err)
		}
		items = append(items, item)
	}
	m.index, m.items = v.Index(), items
	return m.index, m.items, nil
}

// itemColumns are nodeColumns of items.
var itemColumns = func() map[string]api.Column[*nodeItem] {
	out := map[string]api.Column[*nodeItem]{}
	for name, c := range nodeColumns {
		var of api.Column[*nodeItem]
		if c.Text != nil {
			of.Text = func(n *nodeItem) string { return c.Text(n.Node) }
		} else {
			of.Number = func(n *nodeItem) float64 { return c.Number(n.Node) }
		}
		out[name] = of
	}
	return out
}()

func (s *server) nodes(w http.ResponseWriter, r *http.Request) error {
	if api.AsksForPast(r) { // what was is not kept here, and usage is of now
		return page(s, w, r, func(v state.View) []client.Node {
			var out []client.Node
			for n := range v.Nodes() {
				out = append(out, s.nodeRowAtRest(v, n))
			}
			return out
		}, func(n client.Node) string { return n.ID }, nodeColumns)
	}
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	index, items, err := s.nodeList.at(v, s.nodeRowAtRest)
	if err != nil {
		return err
	}
	list, err := api.Page(r.URL.Query(), index, items, func(n *nodeItem) string { return n.ID }, itemColumns)
	if err != nil {
		return err
	}
	body, err := s.nodePage(list)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) //nolint:gosec // JSON, said to be JSON; a client that went away is no error of ours
	return nil
}

// nodePage is a client.List[client.Node] in JSON, with what each node uses now.
func (s *server) nodePage(list client.List[*nodeItem]) ([]byte, error) {
	const usageBytes = 80
	size := 200
	for _, n := range list.Items {
		size += len(n.text) + usageBytes
	}
	b := append(make([]byte, 0, size), `{"items":[`...)
	for i, n := range list.Items {
		if i > 0 {
			b = append(b, ',')
		}
		u, ok := s.Usage(dcos.NodeID(n.ID))
		if !ok {
			b = append(b, n.text...)
			continue
		}
		used, err := json.Marshal(u)
		if err != nil {
			return nil, fmt.Errorf("encode the usage of node %s: %w", n.ID, err)
		}
		b = append(append(append(b, n.text[:len(n.text)-1]...), `,"usage":`...), used...)
		b = append(b, '}')
	}
	b = append(b, `],"total":`...)
	b = strconv.AppendInt(b, int64(list.Total), 10)
	if list.Cursor != "" {
		cursor, err := json.Marshal(list.Cursor)
		if err != nil {
			return nil, fmt.Errorf("encode the cursor: %w", err)
		}
		b = append(append(b, `,"cursor":`...), cursor...)
	}
	b = append(b, `,"index":`...)
	b = strconv.AppendUint(b, list.Index, 10)
	return append(b, "}\n"...), nil
}
