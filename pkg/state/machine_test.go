package state

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// machine drives several stores with one random log and compares them.
type machine struct {
	stores []*Store
	index  dcos.Index
	now    dcos.Time
	seq    uint64
	sent   [][]byte                    // encoded proposals with ids
	given  map[dcos.AppID]dcos.Version // newest that an app ever had at level 2
}

func (m *machine) view() View { return m.stores[0].View() }

// commit applies one entry everywhere; all answers must be the same.
func (m *machine) commit(t *rapid.T, proposals ...[]byte) []Result {
	entry := EncodeEntry(m.now, proposals...)
	m.index++
	var first []Result
	noted := m.view().t.level() >= 2
	for i, s := range m.stores {
		commit, results, err := s.Apply(m.index, entry)
		if err != nil {
			t.Fatalf("store %d: %v", i, err)
		}
		if i == 0 {
			first = results
			if noted {
				m.note(t, commit)
			}
		} else if got, want := fmt.Sprintf("%+v", results), fmt.Sprintf("%+v", first); got != want {
			t.Fatalf("store %d answers %s, store 0 %s", i, got, want)
		}
		if s.View().t.sum != m.view().t.sum {
			t.Fatalf("store %d has hash %x, store 0 %x", i, s.View().t.sum, m.view().t.sum)
		}
	}
	return first
}

// note expects versions of an app to grow over all its lives.
func (m *machine) note(t *rapid.T, c Commit) {
	for _, ch := range c.Changes {
		a, ok := ch.New.(*dcos.App)
		if !ok || ch.Old != nil {
			continue
		}
		if last, ok := m.given[a.ID]; ok && a.Version <= last {
			t.Fatalf("app %s has version %s after it had %s", a.ID, a.Version, last)
		}
		m.given[a.ID] = a.Version
	}
}

func (m *machine) check(t *rapid.T) {
	for i, s := range m.stores {
		if err := Check(s.View()); err != nil {
			t.Fatalf("store %d: %v", i, err)
		}
	}
	if err := CheckHash(m.view()); err != nil {
		t.Fatalf("%v", err)
	}
}

func pick[T any](t *rapid.T, label string, from ...T) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(t, label)]
}

func (m *machine) anyApp(t *rapid.T) dcos.AppID {
	return pick[dcos.AppID](t, "app", "/a", "/b", "/g/c", "/missing", "not an id")
}

func (m *machine) anyNode(t *rapid.T) dcos.NodeID {
	return pick[dcos.NodeID](t, "node", "n1", "n2", "n3", "")
}

func (m *machine) anyVersion(t *rapid.T, app dcos.AppID) dcos.Version {
	versions := []dcos.Version{0, 7}
	for a := range m.view().AppVersions(app) {
		versions = append(versions, a.Version, a.Version)
	}
	return pick(t, "version", versions...)
}

func (m *machine) anyTasks(t *rapid.T) []dcos.TaskID {
	all := []dcos.TaskID{"unknown"}
	for k := range m.view().Tasks() {
		all = append(all, k.ID)
	}
	return rapid.SliceOfN(rapid.SampledFrom(all), 0, 4).Draw(t, "tasks")
}

func (m *machine) anyDeployment(t *rapid.T) dcos.DeploymentID {
	all := []dcos.DeploymentID{"unknown"}
	for d := range m.view().Deployments() {
		all = append(all, d.ID, d.ID)
	}
	return pick(t, "deployment", all...)
}

// command draws a command, often a sensible one.
func (m *machine) command(t *rapid.T) Command {
	switch rapid.IntRange(0, 30).Draw(t, "command") {
	case 0, 1, 2:
		return m.drawPutApp(t)
	case 3:
		return RestartApp{App: m.anyApp(t), Force: rapid.Bool().Draw(t, "force")}
	case 4:
		return DeleteApp{App: m.anyApp(t), Force: rapid.Bool().Draw(t, "force")}
	case 5:
		return RemoveApp{App: m.anyApp(t)}
	case 6:
		d := m.anyDeployment(t)
		return pick[Command](t, "end", AdvanceDeployment{ID: d, Step: 1}, AdvanceDeployment{ID: d, Step: 2},
			CancelDeployment{ID: d}, CancelDeployment{ID: d, Force: true})
	case 7:
		return ResetBackoff{App: m.anyApp(t)}
	case 8, 9, 10:
		return m.drawAdd(t)
	case 11, 12:
		return RetryTasks{Tasks: m.anyTasks(t), Version: m.anyVersion(t, m.anyApp(t))}
	case 13, 14, 15, 16:
		return m.drawPlace(t)
	case 17:
		return StopTasks{Tasks: m.anyTasks(t), Final: rapid.Bool().Draw(t, "final"), Message: pick(t, "why", "", "scaled down")}
	case 18, 19, 20:
		return m.drawStatuses(t)
	case 21:
		return LoseTasks{Node: m.anyNode(t), Tasks: m.anyTasks(t), Reason: dcos.ReasonReconciliation}
	case 22:
		return m.drawNode(t)
	case 23:
		return m.drawOther(t)
	case 24, 25, 26, 27, 28, 29:
		return m.drawShare(t)
	}
	var cmds []Command
	for range rapid.IntRange(0, 3).Draw(t, "parts") {
		c := m.command(t)
		if _, nested := c.(All); !nested {
			cmds = append(cmds, c)
		}
	}
	return All{Commands: cmds}
}

func (m *machine) drawPutApp(t *rapid.T) Command {
	app := testApp(string(m.anyApp(t)), uint32(rapid.IntRange(0, 4).Draw(t, "instances")))
	app.Cmd = pick(t, "cmd", "sleep 1", "sleep 2")
	app.Need.CPUs = pick[resource.Scalar](t, "cpus", 100, 1000, 3000, -1)
	for range rapid.IntRange(0, 2).Draw(t, "ports") {
		app.Ports = append(app.Ports, dcos.PortDef{Port: pick[uint16](t, "port", 0, 0, 10001, 31005), Protocol: "tcp"})
	}
	app.RequirePorts = rapid.Bool().Draw(t, "requirePorts")
	app.Role = pick[dcos.RoleID](t, "role", "", "", "eng", "eng/db", "no such")
	return PutApp{
		App: app, Mode: PutMode(rapid.IntRange(0, 3).Draw(t, "mode")), Force: rapid.Bool().Draw(t, "force"),
		IfVersion: pick(t, "ifVersion", 0, 0, m.anyVersion(t, app.ID)),
	}
}

func (m *machine) drawAdd(t *rapid.T) Command {
	app := m.anyApp(t)
	c := AddTasks{App: app, Version: m.anyVersion(t, app), Count: uint32(rapid.IntRange(0, 3).Draw(t, "count"))}
	if row, ok := m.view().App(app); ok {
		c.First = row.NextOrdinal + pick[uint32](t, "off", 0, 0, 0, 1)
	}
	return c
}

func (m *machine) drawPlace(t *rapid.T) Command {
	var c Place
	for _, id := range m.anyTasks(t) {
		p := Placement{Task: id, Node: m.anyNode(t)}
		m.drawHold(t, &p)
		if k, ok := m.view().Task(id); ok {
			if def, ok := m.view().AppAt(k.App, k.Version); ok {
				for _, d := range def.Ports {
					port := uint16(rapid.IntRange(30999, 31010).Draw(t, "host port"))
					if def.RequirePorts && rapid.Bool().Draw(t, "as asked") {
						port = d.Port
					}
					p.Ports = append(p.Ports, port)
				}
			}
		}
		c.Items = append(c.Items, p)
	}
	return c
}

func (m *machine) drawStatuses(t *rapid.T) Command {
	c := TaskStatuses{Node: m.anyNode(t)}
	for _, id := range m.anyTasks(t) {
		s := dcos.Status{Task: id, State: dcos.TaskState(rapid.IntRange(0, 12).Draw(t, "state")), Seq: uint64(rapid.IntRange(0, 5).Draw(t, "seq"))}
		if k, ok := m.view().Task(id); ok && rapid.IntRange(0, 5).Draw(t, "fresh") > 0 {
			c.Node, s.Epoch, s.Seq = k.Node, k.Epoch, k.StatusSeq+1
		}
		if s.State.Terminal() {
			s.Exit = &dcos.Exit{Code: 3}
		}
		c.Statuses = append(c.Statuses, s)
	}
	return c
}

func (m *machine) drawNode(t *rapid.T) Command {
	id := m.anyNode(t)
	boot := pick(t, "boot", "boot-1", "boot-1", "boot-2")
	n := testNode(string(id))
	n.Boot = boot
	n.Total.CPUs = pick[resource.Scalar](t, "total", 4000, 8000, 1000)
	return pick[Command](t, "act", PutNode{Node: n}, PutNode{Node: n}, RemoveNode{Node: id},
		SetNodeState{Node: id, Boot: boot, State: dcos.NodeSuspect}, SetNodeState{Node: id, Boot: boot, State: dcos.NodeLost, Why: "silent"},
		SetNodeState{Node: id, Boot: boot, State: dcos.NodeActive})
}

func (m *machine) drawOther(t *rapid.T) Command {
	name := pick(t, "name", "x", "y", "")
	return pick[Command](t, "other",
		InitCluster{Info: dcos.ClusterInfo{ID: name}}, RaiseLevel{Level: 0}, RaiseLevel{Level: pick(t, "raise", 1, Level)},
		PutMaster{Master: dcos.Master{ID: dcos.MasterID(len(name)), Name: name, Level: pick(t, "supports", 1, Level, Level)}}, RemoveMaster{ID: 1},
		StartMaster{ID: 1, Incarnation: pick(t, "start", uint64(0), 1, 2, 3), Start: pick(t, "nonce", uint64(1), 2)}, HoldMaster{ID: 1, Hold: rapid.Bool().Draw(t, "hold")},
		PutPackage{Package: dcos.Package{App: m.anyApp(t), Name: name}}, RemovePackage{App: m.anyApp(t)},
		PutUser{User: dcos.User{ID: name}, Create: rapid.Bool().Draw(t, "create")}, RemoveUser{ID: name},
		PutToken{Token: dcos.JoinToken{ID: name, Role: dcos.RoleAgent, SecretHash: []byte{1}}}, RemoveToken{ID: name})
}

func TestStoresStayEqualAndSoundUnderAnyLog(t *testing.T) {
	t.Parallel()
	rapid.Check(t, anyLog)
}

// FuzzCommands is the same with logs that the fuzzer finds.
func FuzzCommands(f *testing.F) { f.Fuzz(rapid.MakeFuzz(anyLog)) }

// anyLog commits random entries to three stores, which must stay equal.
func anyLog(t *rapid.T) {
	m := &machine{stores: []*Store{New(), New(), New()}, now: epoch0, given: map[dcos.AppID]dcos.Version{}}
	m.commit(t, encode(t, Proposal{Commands: []Command{InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: pick(t, "level", Level, Level, Level, 1)}}}}))
	m.commit(t, encode(t, Proposal{Commands: []Command{PutRole{Role: "eng"}, PutRole{Role: "eng/db"}}}))
	for _, id := range []string{"n1", "n2"} {
		m.commit(t, encode(t, Proposal{Commands: []Command{PutNode{Node: testNode(id)}}}))
	}
	m.commit(t, encode(t, Proposal{Commands: []Command{PutApp{App: testApp("/a", 3)}, PutApp{App: testApp("/b", 2)}}}))
	t.Repeat(map[string]func(*rapid.T){
		"": m.check,
		"proposal": func(t *rapid.T) {
			p := Proposal{Principal: pick(t, "principal", "", "admin")}
			for range rapid.IntRange(1, 3).Draw(t, "commands") {
				p.Commands = append(p.Commands, m.command(t))
			}
			m.seq++
			p.ID = dcos.ProposalID{Proposer: 1 + m.seq%3, Seq: m.seq}
			m.sent = append(m.sent, encode(t, p))
			m.commit(t, m.sent[len(m.sent)-1])
		},
		"one command, all or nothing": m.single,
		"scheduler and agents":        m.progress,
		"repeat":                      m.repeat,
		"time": func(t *rapid.T) {
			m.now = m.now.Add(time.Duration(rapid.IntRange(-1000, 100_000).Draw(t, "millis")) * time.Millisecond)
		},
		"replace a store by its snapshot": func(t *rapid.T) {
			i := rapid.IntRange(1, 2).Draw(t, "store")
			back := reread(t, m.stores[i].View())
			if got, want := dump(back.View()), dump(m.stores[i].View()); got != want {
				t.Fatalf("read back:\n%s\nwritten:\n%s", got, want)
			}
			m.stores[i] = back
		},
		"an old view": func(t *rapid.T) {
			v := m.view()
			before := dump(v)
			m.commit(t, encode(t, Proposal{Commands: []Command{m.command(t), m.command(t)}}))
			if after := dump(v); after != before {
				t.Fatalf("a view changed from\n%s\nto\n%s", before, after)
			}
		},
	})
}

// progress does what the scheduler and the agents would do, so that logs get
// beyond the first refusals.
func (m *machine) progress(t *rapid.T) {
	var cmds []Command
	for row := range m.view().Apps() {
		have := uint32(0)
		for range m.view().TasksOf(row.App.ID) {
			have++
		}
		if have < row.App.Instances {
			cmds = append(cmds, AddTasks{App: row.App.ID, Version: row.App.Version, Count: row.App.Instances - have, First: row.NextOrdinal})
		}
	}
	var place Place
	for k := range m.view().Tasks() {
		def, _ := m.view().AppAt(k.App, k.Version)
		switch {
		case k.State == dcos.TaskWaiting && def != nil:
			p := Placement{Task: k.ID, Node: pick[dcos.NodeID](t, "node", "n1", "n2")}
			m.drawHold(t, &p)
			for range def.Ports {
				p.Ports = append(p.Ports, uint16(rapid.IntRange(31000, 31099).Draw(t, "host port")))
			}
			place.Items = append(place.Items, p)
		case k.Live():
			next := k.State + dcos.TaskState(rapid.IntRange(1, 4).Draw(t, "steps"))
			cmds = append(cmds, TaskStatuses{Node: k.Node, Statuses: []dcos.Status{
				{Task: k.ID, Epoch: k.Epoch, Seq: k.StatusSeq + 1, State: min(next, dcos.TaskLost), Reason: dcos.ReasonCommand},
			}})
		case k.State.Terminal() && !k.Final:
			cmds = append(cmds, RetryTasks{Tasks: []dcos.TaskID{k.ID}, Version: k.Version})
		}
	}
	m.commit(t, encode(t, Proposal{Commands: append(cmds, place)}))
}

// single applies one command without an id: if it failed, nothing changed.
func (m *machine) single(t *rapid.T) {
	c := m.command(t)
	before := m.view()
	results := m.commit(t, encode(t, Proposal{Principal: "admin", Commands: []Command{c}}))
	item := results[0].Items[0]
	failed := item.Err != nil
	if n := len(item.Each); n > 0 {
		failed = !slices.Contains(item.Each, nil)
	}
	if _, audited := c.(All); !audited && len(item.Each) == 0 || item.Err != nil {
		if failed && m.view().t.sum != before.t.sum {
			t.Fatalf("%T failed with %v and changed the state", c, item.Err)
		}
	}
	if !failed {
		return
	}
	for _, err := range append(item.Each, item.Err) {
		if err == nil {
			continue
		}
		if !slices.ContainsFunc(kinds[:], func(kind error) bool { return errors.Is(err, kind) }) {
			t.Fatalf("%T: %v is of no kind", c, err)
		}
	}
}

// repeat sends a proposal again: nothing happens, and its errors are known.
func (m *machine) repeat(t *rapid.T) {
	if len(m.sent) == 0 {
		return
	}
	again := m.sent[len(m.sent)-1]
	p, err := decodeProposal(again)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if _, known := m.view().t.done.Get(doneKey(p.id.Proposer, p.id.Seq)); !known {
		return // too long ago
	}
	before := m.view()
	results := m.commit(t, again)
	if !results[0].Repeated || len(results[0].Items) != len(p.commands) {
		t.Fatalf("a repeated proposal of %d commands was answered %+v", len(p.commands), results[0])
	}
	if m.view().t.tasks.Len() != before.t.tasks.Len() || dumpRows(m.view(), TableAudit) != dumpRows(before, TableAudit) {
		t.Fatalf("a repeated proposal was applied")
	}
}

// dumpRows is all rows up to a table, in words.
func dumpRows(v View, upTo Table) string {
	out := ""
	for _, kind := range rowKinds {
		if kind.table > upTo {
			continue
		}
		kind.scan(v.t, func(key string, row any) bool {
			out += fmt.Sprintf("%d %s %x\n", kind.table, key, encodeRow(row))
			return true
		})
	}
	return out
}
