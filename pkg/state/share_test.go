package state

import (
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// roled is a cluster with the roles eng and eng/db and one node of 4 cpus.
func roled(t testing.TB) *cluster {
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: Level}})
	c.must(PutNode{Node: testNode("n1")})
	c.must(PutRole{Role: "eng"})
	c.must(PutRole{Role: "eng/db", Weight: 3000})
	return c
}

func roleApp(id string, role dcos.RoleID, instances uint32) dcos.App {
	app := testApp(id, instances)
	app.Role = role
	return app
}

func cpus(n int64) *resource.Scalar { s := resource.Whole(n); return &s }

func says(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v does not say %q", err, text)
	}
}

func TestRolesAreNamedBeforeTheyAreUsedAndKeptWhileTheyAre(t *testing.T) {
	t.Parallel()
	c := roled(t)
	for _, bad := range []dcos.RoleID{"", "/a", "a/", "a//b", ".", "a/..", "-a", "a b", "a/*", "1/2/3/4/5/6/7/8/9", dcos.RoleID(strings.Repeat("x", 300))} {
		c.refuse(dcos.ErrInvalid, PutRole{Role: bad})
	}
	c.refuse(dcos.ErrNotFound, PutRole{Role: "ops/web"})
	c.refuse(dcos.ErrNotFound, PutApp{App: roleApp("/a", "ops", 1)})
	c.refuse(dcos.ErrInvalid, PutApp{App: roleApp("/a", "*", 1)})
	c.refuse(dcos.ErrNotFound, Reserve{Reservation: dcos.Reservation{ID: "r", Node: "n1", Role: "ops", Resources: resource.Set{CPUs: 1}}})
	says(t, c.refusal(dcos.ErrConflict, RemoveRole{Role: "eng"}), "role eng has role eng/db below it")
	k := c.start(roleApp("/a", "eng/db", 1))[0]
	says(t, c.refusal(dcos.ErrConflict, RemoveRole{Role: "eng/db"}), "that of app /a")
	c.place(k.ID, "n1")
	says(t, c.refusal(dcos.ErrConflict, PutApp{App: roleApp("/a", "eng", 1), Force: true}), "scale it to 0 first")
	c.report(k.ID, dcos.TaskFinished)
	c.must(PutApp{App: roleApp("/a", "eng", 1), Force: true})
	c.must(PutRole{Role: "eng/db/new"})
	if r, ok := c.s.View().Role("eng/db"); !ok || r.Weight != 3000 {
		t.Errorf("role is %+v", r)
	}
	c.must(RemoveRole{Role: "eng/db/new"})
	c.must(RemoveRole{Role: "eng/db"})
	c.refuse(dcos.ErrNotFound, RemoveRole{Role: "eng/db"})
}

// Going back to a definition of another role is as good as changing the role.
func TestCancelledDeploymentDoesNotChangeTheRoleOfLiveTasks(t *testing.T) {
	t.Parallel()
	c := roled(t)
	c.must(PutApp{App: testApp("/a", 1)})
	item := c.must(PutApp{App: roleApp("/a", "eng", 1), Force: true})
	c.must(AddTasks{App: "/a", Version: item.Version, Count: 1})
	c.place(c.tasks("/a")[0].ID, "n1")
	says(t, c.refusal(dcos.ErrConflict, CancelDeployment{ID: item.Deployment}), "has live tasks")
}

func TestQuotaLimitsARoleWithAllBelowIt(t *testing.T) {
	t.Parallel()
	c := roled(t)
	c.must(PutQuota{Role: "eng", Quota: dcos.Quota{Limit: resource.Limit{CPUs: cpus(2)}}})
	db, web := c.start(roleApp("/db", "eng/db", 2)), c.start(roleApp("/web", "eng", 1))
	other := c.start(testApp("/other", 1))
	c.place(db[0].ID, "n1")
	c.place(web[0].ID, "n1")
	err := c.refusal(dcos.ErrExhausted, Place{Items: []Placement{{Task: db[1].ID, Node: "n1"}}})
	says(t, err, "role eng consumes cpus:2; mem:256, with cpus:1; mem:128 more it would be over its limit of cpus")
	c.place(other[0].ID, "n1") // another role does not mind
	c.report(web[0].ID, dcos.TaskFailed)
	c.place(db[1].ID, "n1")
	if open, reserved := c.s.View().Consumed("eng"); open.CPUs != 2000 || !reserved.IsZero() {
		t.Errorf("eng consumes %s and %s", open, reserved)
	}
	// A reservation counts whether it is used or not.
	c.refuse(dcos.ErrExhausted, Reserve{Reservation: dcos.Reservation{ID: "r", Node: "n1", Role: "eng", Resources: resource.Set{CPUs: 1}}})
	says(t, c.refusal(dcos.ErrConflict, PutQuota{Role: "eng", Quota: dcos.Quota{Limit: resource.Limit{CPUs: cpus(1)}}}), "consumes cpus:2")
	c.must(PutQuota{Role: "eng", Quota: dcos.Quota{Limit: resource.Limit{CPUs: cpus(1)}}, Force: true})
	if r, _ := c.s.View().Role("eng"); !r.Forced {
		t.Error("a forced limit is not marked")
	}
	c.refuse(dcos.ErrInvalid, PutQuota{Role: "eng", Quota: dcos.Quota{Limit: resource.Limit{CPUs: cpus(1)}, Guarantee: resource.Set{CPUs: 1001}}})
	c.refuse(dcos.ErrInvalid, PutQuota{Role: "eng", Quota: dcos.Quota{Limit: resource.Limit{Mem: cpus(-1)}}})
	c.refuse(dcos.ErrInvalid, PutQuota{Role: "eng", Quota: dcos.Quota{Guarantee: resource.Set{Ports: resource.PortSet(80)}}})
}

func TestGuaranteesAreNotMoreThanThereIs(t *testing.T) {
	t.Parallel()
	c := roled(t)
	give := func(n int64) dcos.Quota { return dcos.Quota{Guarantee: resource.Set{CPUs: resource.Whole(n)}} }
	c.must(PutRole{Role: "ops"})
	c.must(PutQuota{Role: "eng", Quota: give(3)})
	says(t, c.refusal(dcos.ErrConflict, PutQuota{Role: "ops", Quota: give(2)}), "come to cpus:5")
	c.must(PutQuota{Role: "ops", Quota: give(1)})
	says(t, c.refusal(dcos.ErrConflict, PutQuota{Role: "eng/db", Quota: give(4)}), "there is only cpus:3")
	c.must(PutQuota{Role: "eng/db", Quota: give(3)})
	c.must(PutQuota{Role: "ops", Quota: give(9), Force: true})
}

func TestReservedResourcesAreForTheirRoleOnly(t *testing.T) {
	t.Parallel()
	c := roled(t)
	three := resource.Set{CPUs: resource.Whole(3), Mem: resource.Whole(1024), Disk: resource.Whole(500), Ports: resource.Ranges{{First: 31000, Last: 31001}}}
	c.must(Reserve{Reservation: dcos.Reservation{ID: "r1", Node: "n1", Role: "eng", Resources: three, Labels: map[string]string{"k": "v"}}})
	c.refuse(dcos.ErrConflict, Reserve{Reservation: dcos.Reservation{ID: "r1", Node: "n1", Role: "eng", Resources: resource.Set{CPUs: 1}}})
	c.refuse(dcos.ErrExhausted, Reserve{Reservation: dcos.Reservation{ID: "r2", Node: "n1", Role: "eng", Resources: resource.Set{CPUs: 1001}}})
	c.refuse(dcos.ErrConflict, Reserve{Reservation: dcos.Reservation{ID: "r2", Node: "n1", Role: "eng", Resources: resource.Set{Ports: resource.PortSet(31001)}}})
	c.refuse(dcos.ErrInvalid, Reserve{Reservation: dcos.Reservation{ID: "r2", Node: "n1", Role: "*", Resources: resource.Set{CPUs: 1}}})
	c.refuse(dcos.ErrInvalid, Reserve{Reservation: dcos.Reservation{ID: "r2", Node: "n1", Role: "eng"}})
	c.refuse(dcos.ErrNotFound, Reserve{Reservation: dcos.Reservation{ID: "r2", Node: "n9", Role: "eng", Resources: resource.Set{CPUs: 1}}})
	if free, _ := c.s.View().Free("n1"); free.CPUs != 1000 || free.Ports.Has(31000) {
		t.Errorf("free is %s", free)
	}
	web := testApp("/web", 3)
	web.Ports = []dcos.PortDef{{Protocol: "tcp"}}
	open, db := c.start(web), roleApp("/db", "eng/db", 2)
	db.Ports = web.Ports
	own := c.start(db)
	c.refuse(dcos.ErrConflict, Place{Items: []Placement{{Task: open[0].ID, Node: "n1", Ports: []uint16{31001}}}})
	c.place(open[0].ID, "n1", 31002)
	says(t, c.refusal(dcos.ErrExhausted, Place{Items: []Placement{{Task: open[1].ID, Node: "n1", Ports: []uint16{31003}}}}), "too little cpus")
	says(t, c.refusal(dcos.ErrDenied, Place{Items: []Placement{{Task: open[1].ID, Node: "n1", Ports: []uint16{31003}, Reservation: "r1"}}}), "for role eng")
	c.refuse(dcos.ErrNotFound, Place{Items: []Placement{{Task: own[0].ID, Node: "n1", Ports: []uint16{31000}, Reservation: "r9"}}})
	c.refuse(dcos.ErrConflict, Place{Items: []Placement{{Task: own[0].ID, Node: "n1", Ports: []uint16{31002}, Reservation: "r1"}}})
	c.must(Place{Items: []Placement{{Task: own[0].ID, Node: "n1", Ports: []uint16{31000}, Reservation: "r1"}}})
	if left, _ := c.s.View().ReservationLeft("r1"); left.CPUs != 2000 {
		t.Errorf("left of the reservation is %s", left)
	}
	says(t, c.refusal(dcos.ErrConflict, Unreserve{ID: "r1"}), "used by 1 tasks")
	says(t, c.refusal(dcos.ErrConflict, Unreserve{ID: "r1", Resources: resource.Set{CPUs: 2001}}), "so much cpus")
	c.refuse(dcos.ErrInvalid, Unreserve{ID: "r1", Resources: resource.Set{CPUs: 9000}})
	c.must(Unreserve{ID: "r1", Resources: resource.Set{CPUs: 2000}})
	c.place(open[1].ID, "n1", 31003)
	// A reboot ends tasks; what is reserved stays.
	again := testNode("n1")
	again.Boot = "boot-2"
	c.must(PutNode{Node: again})
	c.must(SetNodeState{Node: "n1", Boot: "boot-2", State: dcos.NodeLost})
	says(t, c.refusal(dcos.ErrConflict, RemoveNode{Node: "n1"}), "1 reservations")
	c.must(Unreserve{ID: "r1"})
	c.refuse(dcos.ErrNotFound, Unreserve{ID: "r1"})
	c.must(RemoveNode{Node: "n1"})
}

func TestVolumeHasOneOwnerAndItsContentsOutliveTasks(t *testing.T) {
	t.Parallel()
	c := roled(t)
	some := resource.Set{CPUs: resource.Whole(3), Mem: resource.Whole(1024), Disk: resource.Whole(500)}
	c.must(Reserve{Reservation: dcos.Reservation{ID: "r1", Node: "n1", Role: "eng", Resources: some}})
	c.must(Reserve{Reservation: dcos.Reservation{ID: "r2", Node: "n1", Role: "eng", Resources: resource.Set{Disk: 1000}}})
	c.refuse(dcos.ErrExhausted, CreateVolume{Volume: dcos.Volume{ID: "v1", Reservation: "r1", Size: resource.Whole(501)}})
	c.refuse(dcos.ErrInvalid, CreateVolume{Volume: dcos.Volume{ID: "v1", Reservation: "r1"}})
	c.refuse(dcos.ErrNotFound, CreateVolume{Volume: dcos.Volume{ID: "v1", Reservation: "r9", Size: 1}})
	c.must(CreateVolume{Volume: dcos.Volume{ID: "v1", Reservation: "r1", Size: resource.Whole(400), Task: "forged", Epoch: 99}})
	c.must(CreateVolume{Volume: dcos.Volume{ID: "v2", Reservation: "r2", Size: 1000}})
	c.refuse(dcos.ErrConflict, CreateVolume{Volume: dcos.Volume{ID: "v1", Reservation: "r1", Size: 1}})
	c.refuse(dcos.ErrExhausted, ResizeVolume{ID: "v1", Size: resource.Whole(501)})
	c.must(ResizeVolume{ID: "v1", Size: resource.Whole(500)})
	c.must(ResizeVolume{ID: "v1", Size: resource.Whole(300)})
	says(t, c.refusal(dcos.ErrConflict, Unreserve{ID: "r1", Resources: resource.Set{Disk: resource.Whole(201)}}), "so much disk")
	tasks := c.start(roleApp("/db", "eng", 3))
	use := func(k *dcos.Task, vs ...dcos.VolumeID) Command {
		return Place{Items: []Placement{{Task: k.ID, Node: "n1", Reservation: "r1", Volumes: vs}}}
	}
	c.refuse(dcos.ErrConflict, use(tasks[0], "v2"))
	c.refuse(dcos.ErrNotFound, use(tasks[0], "v9"))
	c.refuse(dcos.ErrInvalid, use(tasks[0], "v1", "v1"))
	c.refuse(dcos.ErrInvalid, Place{Items: []Placement{{Task: tasks[0].ID, Node: "n1", Volumes: []dcos.VolumeID{"v1"}}}})
	c.must(use(tasks[0], "v1"))
	first, _ := c.s.View().Volume("v1")
	if first.Task != tasks[0].ID || first.Epoch != dcos.Epoch(c.index) || first.Node != "n1" {
		t.Errorf("volume is %+v", first)
	}
	says(t, c.refusal(dcos.ErrConflict, use(tasks[1], "v1")), "in use by task "+string(tasks[0].ID))
	c.refuse(dcos.ErrConflict, DestroyVolume{ID: "v1"})
	c.refuse(dcos.ErrConflict, ResizeVolume{ID: "v1", Size: 1})
	// Ended and placed in one entry: the second owner must have a higher epoch.
	k, _ := c.s.View().Task(tasks[0].ID)
	end := TaskStatuses{Node: "n1", Statuses: []dcos.Status{{Task: k.ID, Epoch: k.Epoch, Seq: 1, State: dcos.TaskFinished}}}
	c.now = c.now.Add(time.Minute)
	c.report(tasks[0].ID, dcos.TaskRunning)
	end.Statuses[0].Seq = 2
	items := c.do(end, ResetBackoff{App: "/db"}, use(tasks[1], "v1"))
	if err := firstError(items[2]); err != nil {
		t.Error(err)
	}
	second, _ := c.s.View().Volume("v1")
	if second.Task != tasks[1].ID || second.Epoch <= first.Epoch {
		t.Errorf("after %+v the volume is %+v", first, second)
	}
	c.must(LoseTasks{Node: "n1", Tasks: []dcos.TaskID{tasks[1].ID}, Reason: dcos.ReasonReconciliation})
	if v, _ := c.s.View().Volume("v1"); v.Task != "" || v.Epoch != second.Epoch || v.Size != resource.Whole(300) {
		t.Errorf("volume is %+v", v)
	}
	says(t, c.refusal(dcos.ErrConflict, Unreserve{ID: "r1"}), "1 volumes")
	c.must(DestroyVolume{ID: "v1"})
	c.must(Unreserve{ID: "r1"})
}
