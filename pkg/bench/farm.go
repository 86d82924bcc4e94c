package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
)

// load is what is asked of the scheduler: apps times each instances.
type load struct {
	row   string // without its prefix
	apps  int
	each  int
	rules string // constraints in Marathon's JSON
}

func loads(instances int) []load {
	return []load{
		{"one-app", 1, instances, `[]`},
		{"20-apps", 20, instances / 20, `[]`},
		{"spread", 1, instances, `[["@zone","GROUP_BY"],["rack","UNLIKE","1.|77"]]`},
	}
}

// specs are the bodies that a client would POST: each instance takes a tenth
// of a core and, by Marathon's default, one host port.
func (l load) specs() [][]byte {
	out := make([][]byte, l.apps)
	for i := range out {
		out[i] = fmt.Appendf(nil, `{"id":"/bench/app-%03d","cmd":"exec serve","cpus":0.1,"mem":64,"instances":%d,"constraints":%s}`, i, l.each, l.rules)
	}
	return out
}

// put is what the API makes of a POST.
func put(spec []byte) (state.PutApp, error) {
	a, err := app.Parse(spec)
	if err != nil {
		return state.PutApp{}, fmt.Errorf("parse the app: %w", err)
	}
	return state.PutApp{App: a, Mode: state.PutCreate}, nil
}

// nodesPerEntry keeps an entry of the log well below its limit.
const nodesPerEntry = 250

// farm is n nodes of two sizes in 3 zones and 100 racks, in batches.
func farm(n int) [][]state.Command {
	var out [][]state.Command
	for i := range n {
		if i%nodesPerEntry == 0 {
			out = append(out, nil)
		}
		size := int64(8 + 8*(i%2))
		at := len(out) - 1
		out[at] = append(out[at], state.PutNode{Node: dcos.Node{
			ID: dcos.NodeID(fmt.Sprintf("n-%016x", i+1)), Hostname: fmt.Sprintf("node-%04d", i), Addr: "127.0.0.1:7445", IP: "127.0.0.1", Boot: "bench",
			Zone: fmt.Sprintf("zone-%d", i%3), Attributes: map[string]string{"rack": fmt.Sprint(i % 100)}, Isolation: dcos.IsolationContainer,
			Total: resource.Set{
				CPUs: resource.Whole(size), Mem: resource.Whole(size * 4096), Disk: resource.Whole(100_000),
				Ports: resource.NewRanges(resource.Range{First: 31000, Last: 32000}),
			},
		}})
	}
	return out
}

func cluster() state.Command {
	return state.InitCluster{Info: dcos.ClusterInfo{ID: "5ee70a5c-0000-4000-8000-000000000001", Name: "bench", Level: state.Level}}
}

// placed counts the tasks that have a place.
func placed(v state.View) int {
	n := 0
	for t := range v.Tasks() {
		if t.State == dcos.TaskPlaced {
			n++
		}
	}
	return n
}

// decide measures the turns of the scheduler's core over the real state
// machine, without a log.
func decide(ctx context.Context, b *bench) ([]figure, error) {
	var out []figure
	for _, l := range loads(b.instances) {
		row := "decide-" + l.row
		if !b.wanted(row) {
			continue
		}
		b.say("%s", row)
		var rates []float64
		for range b.rounds {
			if err := ctx.Err(); err != nil {
				return out, err
			}
			took, err := decideOnce(b.nodes, l)
			if err != nil {
				return out, fmt.Errorf("%s: %w", row, err)
			}
			rates = append(rates, float64(l.apps*l.each)/took.Seconds())
		}
		out = append(out, spanned(row, rates, ""))
	}
	return out, nil
}

// memory is the state machine without a log: what is proposed is applied.
type memory struct {
	store   *state.Store
	index   dcos.Index
	seq     uint64
	changes []state.Change // since they were last taken
}

func (m *memory) apply(cmds ...state.Command) (state.Result, error) {
	m.seq++
	m.index++
	p, err := state.EncodeProposal(state.Proposal{ID: dcos.ProposalID{Proposer: 1, Seq: m.seq}, Commands: cmds})
	if err != nil {
		return state.Result{}, fmt.Errorf("encode: %w", err)
	}
	commit, results, err := m.store.Apply(m.index, state.EncodeEntry(dcos.TimeOf(time.Now()), p))
	if err != nil {
		return state.Result{}, fmt.Errorf("apply: %w", err)
	}
	m.changes = append(m.changes, commit.Changes...)
	return results[0], results[0].Err()
}

// decideOnce is the time that the core needed to place a load.
func decideOnce(nodes int, l load) (time.Duration, error) {
	m := &memory{store: state.New()}
	core := scheduler.New()
	for _, cmds := range append([][]state.Command{{cluster()}}, farm(nodes)...) {
		if _, err := m.apply(cmds...); err != nil {
			return 0, err
		}
	}
	// The first turn reads all nodes: it belongs to becoming the leader.
	core.Turn(dcos.TimeOf(time.Now()), m.store.View(), nil)
	m.changes = nil
	for _, spec := range l.specs() {
		cmd, err := put(spec)
		if err != nil {
			return 0, err
		}
		if _, err := m.apply(cmd); err != nil {
			return 0, err
		}
	}
	var took time.Duration
	for {
		view, changes := m.store.View(), m.changes
		m.changes = nil
		now := dcos.TimeOf(time.Now())
		from := time.Now()
		cmds, _ := core.Turn(now, view, changes)
		took += time.Since(from)
		if len(cmds) == 0 && len(changes) == 0 {
			break
		}
		if len(cmds) == 0 {
			continue
		}
		res, err := m.apply(cmds...)
		if err != nil {
			return 0, err
		}
		core.Done(now, res, nil)
	}
	if got := placed(m.store.View()); got != l.apps*l.each {
		return 0, fmt.Errorf("%d of %d tasks were placed", got, l.apps*l.each)
	}
	return took, nil
}
