package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/btree"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/pages"
	"github.com/dcos-go/dcos/pkg/resource"
)

// populated has at least one row in every table.
func populated(t testing.TB) *cluster {
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: Level}})
	c.must(PutMaster{Master: dcos.Master{ID: 1, Level: Level}})
	c.must(PutNode{Node: testNode("n1")})
	c.must(PutNode{Node: testNode("n2")})
	app := testApp("/a", 3)
	app.Ports = []dcos.PortDef{{Protocol: "tcp"}}
	tasks := c.start(app)
	c.place(tasks[0].ID, "n1", 31000)
	c.place(tasks[1].ID, "n2", 31000)
	c.report(tasks[0].ID, dcos.TaskFailed)
	c.must(RetryTasks{Tasks: []dcos.TaskID{tasks[0].ID}, Version: tasks[0].Version})
	small := testNode("n2")
	small.Total.CPUs = 1
	c.must(PutNode{Node: small})
	c.must(PutPackage{Package: dcos.Package{App: "/a", Name: "a"}})
	c.must(PutRole{Role: "eng"})
	c.must(Reserve{Reservation: dcos.Reservation{ID: "r", Node: "n1", Role: "eng", Resources: resource.Set{CPUs: 1000, Mem: resource.Whole(500), Disk: 1000}}})
	c.must(CreateVolume{Volume: dcos.Volume{ID: "v", Reservation: "r", Size: 500}})
	own := testApp("/own", 1)
	own.Role = "eng"
	c.must(Place{Items: []Placement{{Task: c.start(own)[0].ID, Node: "n1", Reservation: "r", Volumes: []dcos.VolumeID{"v"}}}})
	c.must(PutToken{Token: dcos.JoinToken{ID: "t", Role: dcos.RoleAgent, SecretHash: []byte{1}}})
	c.apply(encode(t, Proposal{ID: dcos.ProposalID{Proposer: 1, Seq: 1}, Principal: "ann", Commands: []Command{
		PutUser{User: dcos.User{ID: "ann"}}, RemoveUser{ID: "x"},
	}}))
	c.apply(wirePart(t))
	c.must(PutApp{App: testApp("/gone", 0)})
	c.must(DeleteApp{App: "/gone", Force: true})
	c.must(RemoveApp{App: "/gone"})
	for _, kind := range rowKinds {
		if kind.rows(c.s.View().t) == 0 {
			t.Fatalf("table %d is empty", kind.table)
		}
	}
	return c
}

func wirePart(t testing.TB) []byte {
	b, err := encMode.Marshal(proposalWire{ID: dcos.ProposalID{Proposer: 9, Seq: 9}, Part: &partWire{Of: 2, Data: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func written(t testing.TB, v View) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := v.WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSnapshotHoldsEverything(t *testing.T) {
	t.Parallel()
	c := populated(t)
	b := written(t, c.s.View())
	back, err := Restore(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := dump(back.View()), dump(c.s.View()); got != want {
		t.Errorf("read back\n%s\nwritten\n%s", got, want)
	}
	if err := errors.Join(Check(back.View()), CheckHash(back.View())); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(written(t, back.View()), b) {
		t.Error("the same state gives another snapshot")
	}
	// Both go on in the same way.
	k := c.tasks("/a")[2]
	entry := EncodeEntry(c.now+100_000, encode(t, Proposal{Commands: []Command{
		Place{Items: []Placement{{Task: k.ID, Node: "n1", Ports: []uint16{31000}}}}, PutApp{App: testApp("/b", 1)},
	}}))
	for _, s := range []*Store{c.s, back} {
		if _, _, err := s.Apply(100, entry); err != nil {
			t.Fatal(err)
		}
	}
	if dump(back.View()) != dump(c.s.View()) {
		t.Error("after the snapshot the states differ")
	}
}

func TestEmptyStateHasASnapshot(t *testing.T) {
	t.Parallel()
	if got, want := dump(reread(t, New().View()).View()), dump(New().View()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEveryDamageOfASnapshotIsFound(t *testing.T) {
	t.Parallel()
	good := written(t, populated(t).s.View())
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if _, err := Restore(bytes.NewReader(bad)); err == nil {
			t.Errorf("flipped bit in byte %d: no error", i)
		}
		_, err := Restore(bytes.NewReader(good[:i]))
		if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "at byte") {
			t.Errorf("cut after %d bytes: error %v does not name the place", i, err)
		}
	}
	if _, err := Restore(io.MultiReader(bytes.NewReader(good[:200]), &failing{})); !errors.Is(err, errDisk) {
		t.Errorf("reader fails: %v", err)
	}
}

var errDisk = errors.New("disk on fire")

type failing struct{}

func (*failing) Read([]byte) (int, error)  { return 0, errDisk }
func (*failing) Write([]byte) (int, error) { return 0, errDisk }

func TestSnapshotThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	if err := populated(t).s.View().WriteSnapshot(&failing{}); !errors.Is(err, errDisk) {
		t.Errorf("error %v", err)
	}
}

// forged is a well-formed snapshot of tables that could never come about.
func forged(t *testing.T, change func(*tables), rehash bool) error {
	v := populated(t).s.View()
	x := v.t.copy()
	change(x)
	if rehash {
		x.sum = rowSum{}
		for _, kind := range rowKinds {
			kind.scan(x, func(_ string, row any) bool {
				h, _ := hashRow(nil, kind.table, row)
				x.sum.add(h)
				return true
			})
		}
	}
	_, err := Restore(bytes.NewReader(written(t, View{x})))
	return err
}

// forge puts a task into the table and into no index.
func forge(x *tables, k *dcos.Task) pages.Slot {
	s, ok := x.tasks.Find(string(k.ID))
	if !ok {
		return x.tasks.Add(x.age, k)
	}
	x.tasks.Set(x.age, s, k)
	return s
}

func TestSnapshotThatContradictsItselfIsRefused(t *testing.T) {
	t.Parallel()
	anyTask := func(x *tables) dcos.Task {
		for k := range x.tasks.All() {
			if k.Live() {
				return *k
			}
		}
		return dcos.Task{}
	}
	for _, tt := range []struct {
		name, want string
		change     func(*tables)
	}{
		{"app without its version", "names version", func(x *tables) { x.versions = newTree(lessVersion) }},
		{"task without app", "names app", func(x *tables) { k := anyTask(x); k.App = "/zz"; forge(x, &k) }},
		{"task without node", "live on node", func(x *tables) { k := anyTask(x); k.Node = "zz"; forge(x, &k) }},
		{"two tasks of one instance", "both the newest", func(x *tables) { k := anyTask(x); k.ID += "x"; forge(x, &k) }},
		{"ports out of order", "not sorted", func(x *tables) {
			k := anyTask(x)
			k.Need.Ports = resource.Ranges{{First: 9, Last: 9}, {First: 3, Last: 3}}
			forge(x, &k)
		}},
		{"two deployments of one app", "both hold", func(x *tables) { x.deployments.rows.Set("~", &dcos.Deployment{ID: "~", App: "/a"}) }},
		{"outcome that names no item", "not valid", func(x *tables) {
			x.done.rows.Set("~", &doneRow{ID: dcos.ProposalID{Proposer: 1 << 63}, Items: 1, Errors: []keptError{{Item: 1}}})
		}},
		{"row twice", "not in order", func(x *tables) { x.users.rows.Set("~", &dcos.User{ID: "ann"}) }},
		{"level beyond this build", above(Level + 1), func(x *tables) { x.cluster.Level = Level + 1 }},
		{"another time", "time -1", func(x *tables) { x.time = -1 }},
	} {
		if err := forged(t, tt.change, true); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one about %q", tt.name, err, tt.want)
		}
	}
	if err := forged(t, func(x *tables) { x.users.rows.Set("~", &dcos.User{ID: "~"}) }, false); err == nil || !strings.Contains(err.Error(), "the header says") {
		t.Errorf("hash that is not that of the rows: %v", err)
	}
}

func TestViewsAreReadWhileTheStoreGoesOn(t *testing.T) {
	t.Parallel()
	c := populated(t)
	v := c.s.View()
	want := dump(v)
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for range 20 {
				if dump(v) != want || Check(v) != nil {
					t.Error("a view changed")
				}
				if err := v.WriteSnapshot(io.Discard); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 50 {
		c.start(testApp(fmt.Sprintf("/new/%d", i), 3))
	}
	readers.Wait()
}

// Whatever differs between two tasks shows in the hash.
func TestHashSeesEveryFieldOfATask(t *testing.T) {
	t.Parallel()
	base := dcos.Task{Exit: &dcos.Exit{}, Need: resource.Set{Ports: resource.Ranges{{}}}, Ports: []uint16{0}, Hold: &dcos.TaskHold{Volumes: []dcos.VolumeID{""}}}
	seen := map[string]string{string(appendTask(nil, &base)): "nothing"}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				walk(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
			return
		case reflect.Pointer:
			walk(path, v.Elem())
			return
		case reflect.Slice:
			walk(path+"[0]", v.Index(0))
			return
		}
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		switch v.Kind() {
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(1)
		case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			v.SetUint(1)
		default:
			t.Fatalf("%s: a field of kind %s", path, v.Kind())
		}
		text := string(appendTask(nil, &base))
		if twin, ok := seen[text]; ok {
			t.Errorf("a change of %s looks like a change of %s", path, twin)
		}
		seen[text] = path
		v.Set(old)
	}
	walk("task", reflect.ValueOf(&base).Elem())
	without := base
	without.Exit = nil
	if _, ok := seen[string(appendTask(nil, &without))]; ok {
		t.Error("no exit looks like something else")
	}
}

// A checker that finds nothing proves nothing: each of these is found.
func TestCheckFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	live := func(x *tables) dcos.Task {
		for k := range x.tasksOn("n2") {
			return *k
		}
		return dcos.Task{}
	}
	for _, tt := range []struct {
		name, want string
		plant      func(*tables)
	}{
		{"ledger not freed", "the ledger says", func(x *tables) {
			h, _ := x.ledger.Get("n2")
			x.ledger.Set("n2", &holding{tasks: h.tasks, set: h.set.Plus(resource.Set{CPUs: 1})})
		}},
		{"ledger of nobody", "nodes in the ledger", func(x *tables) { x.ledger.Set("n9", &holding{}) }},
		{"over-commit", "shrunk: false", func(x *tables) { x.shrunk.Delete("n2") }},
		{"port held twice", "held twice", func(x *tables) {
			k := live(x)
			k.ID, k.Ordinal = dcos.NewTaskID(k.App, 5, 2, 1), 2
			s := forge(x, &k)
			x.waiting.Delete("/a")
			x.reindex(nil, &k, s)
		}},
		{"use of a role", "roles consume something", func(x *tables) { x.roleUse.Delete("eng") }},
		{"use of a reservation", "reservation r: is used for", func(x *tables) { x.resUse.Set("r", reservationUse{}) }},
		{"reserved on a node", "the ledger says", func(x *tables) { x.reserved.Set("n1", &reservedOn{n: 1}) }},
		{"volume of nobody", "volumes have an owner", func(x *tables) {
			v := dcos.Volume{ID: "w", Reservation: "r", Node: "n1", Size: 1, Task: "x"}
			x.volumes.rows.Set("w", &v)
			x.reindexVolume(nil, &v)
		}},
		{"reservation with too many volumes", "is used", func(x *tables) {
			v := dcos.Volume{ID: "w", Reservation: "r", Node: "n1", Size: 501}
			x.volumes.rows.Set("w", &v)
			x.reindexVolume(nil, &v)
		}},
		{"limit passed", "over its limit of cpus", func(x *tables) {
			none := resource.Scalar(0)
			x.roles.rows.Set("eng", &dcos.RoleInfo{ID: "eng", Quota: dcos.Quota{Limit: resource.Limit{CPUs: &none}}})
		}},
		{"waiting count", "waiting tasks are", func(x *tables) { x.waiting.Set("/a", 7) }},
		{"standing of an app", "are counted", func(x *tables) { x.standing = btree.Map[dcos.AppID, *standing]{} }},
		{"standing of nobody", "there are none", func(x *tables) { x.standing.Set("/z", &standing{Standing: Standing{Leaving: 1}}) }},
		{"irregular instance of nobody", "irregular instances in the index", func(x *tables) { k := live(x); k.App = "/z"; x.irregular.Set(&k) }},
		{"unsettled node", "listed as unsettled", func(x *tables) { x.unsettled.Set("n2", struct{}{}) }},
		{"live without epoch", "with epoch 0", func(x *tables) { k := live(x); k.Epoch = 0; forge(x, &k) }},
		{"epoch in the future", "in the future", func(x *tables) { k := live(x); k.Epoch = 1 << 40; forge(x, &k) }},
		{"lost node", "lost or unknown", func(x *tables) {
			n, _ := x.nodes.Get("n2")
			lost := *n
			lost.State = dcos.NodeLost
			x.nodes.rows.Set("n2", &lost)
		}},
		{"index of node", "in the index are not", func(x *tables) {
			h, _ := x.ledger.Get("n2")
			x.ledger.Set("n2", &holding{tasks: h.tasks, set: h.set, live: slices.Repeat(h.live[:1], h.tasks+1)})
		}},
		{"slot of another task", "has its slot", func(x *tables) {
			k := live(x)
			s, _ := x.tasks.Find(string(k.ID))
			k.ID += "x"
			x.tasks.Set(x.age, s, &k)
		}},
		{"number of an app", "have numbers", func(x *tables) { x.numbers.Delete("/own") }},
		{"index of instances", "index of instances", func(x *tables) { x.instances = pages.Index{} }},
		{"index of ended tasks", "index of ended tasks", func(x *tables) { x.ended = newTree(lessEnded) }},
		{"app gone", "does not exist", func(x *tables) { x.apps.rows.Delete("/a") }},
		{"service ports", "service ports in use", func(x *tables) { x.servicePts.Set(12_000, 1) }},
		{"deployment lost", "not the one that holds", func(x *tables) { x.deployOf = btree.Map[dcos.AppID, *dcos.Deployment]{} }},
		{"deployment beyond its end", "step 9 of 2", func(x *tables) {
			_, d, _ := x.deployments.rows.Min()
			late := *d
			late.Step = 9
			x.deployments.rows.Set(string(d.ID), &late)
			x.deployOf.Set(d.App, &late)
		}},
		{"version dropped", "not among its versions", func(x *tables) { x.versions = newTree(lessVersion) }},
		{"older attempt is the newest", "is the newest", func(x *tables) {
			k, _ := x.ended.Min()
			later := *k
			later.Attempt = 9
			x.ended.Set(&later)
		}},
	} {
		x := populated(t).s.View().t.copy()
		tt.plant(x)
		if err := Check(View{x}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want something about %q", tt.name, err, tt.want)
		}
	}
	x := populated(t).s.View().t.copy()
	x.users.rows.Set("~", &dcos.User{ID: "~"})
	if CheckHash(View{x}) == nil {
		t.Error("a row that is not in the hash was not found")
	}
}
