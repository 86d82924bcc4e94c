package dcos

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestAPageOfNodesIsTheListThatTheEncoderWrites(t *testing.T) {
	t.Parallel()
	s := &server{Config: Config{Usage: func(id dcos.NodeID) (client.Usage, bool) {
		return client.Usage{CPUs: 1.5, MemBytes: 7, DiskBytes: 9}, id == "n-2"
	}}}
	var items []*nodeItem
	var want []client.Node
	for _, n := range []client.Node{
		{ID: "n-1", Hostname: `a "quoted" <name>`, Attributes: map[string]string{"rack": "1"}},
		{ID: "n-2", Total: client.Resources{CPUs: 4}, Drain: &client.Drain{Since: "now"}},
	} {
		text, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, &nodeItem{n, text})
		if u, ok := s.Usage(dcos.NodeID(n.ID)); ok {
			n.Usage = &u
		}
		want = append(want, n)
	}
	for _, n := range []int{0, 1, 2} {
		list := client.List[*nodeItem]{Items: items[:n], Total: 7, Index: 12}
		if n == 1 {
			list.Cursor = `n-"1`
		}
		b, err := s.nodePage(list)
		if err != nil {
			t.Fatal(err)
		}
		var got client.List[client.Node]
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if d := cmp.Diff(client.List[client.Node]{Items: append([]client.Node{}, want[:n]...), Total: 7, Cursor: list.Cursor, Index: 12}, got); d != "" {
			t.Errorf("page of %d (-want +got):\n%s", n, d)
		}
	}
}
