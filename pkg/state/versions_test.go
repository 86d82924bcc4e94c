package state

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// remake changes an app, deletes it and makes it anew, all in one moment; its
// answers are the last version of the old life and the first of the new one.
func remake(c *cluster) (old, now dcos.Version) {
	c.t.Helper()
	app := testApp("/a", 0)
	c.must(PutApp{App: app})
	app.Cmd = "sleep 2"
	old = c.must(PutApp{App: app, Force: true}).Version
	c.must(DeleteApp{App: "/a", Force: true})
	c.must(RemoveApp{App: "/a"})
	c.s = reread(c.t, c.s.View())
	app.Cmd = "sleep 3"
	return old, c.must(PutApp{App: app}).Version
}

func TestAnAppMadeAnewHasNoVersionOfItsFormerLife(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: 2}})
	old, now := remake(c)
	if now <= old {
		t.Fatalf("first version %s, the former life ended with %s", now, old)
	}
	app := testApp("/a", 0)
	app.Cmd = "sleep 4"
	c.refuse(dcos.ErrConflict, PutApp{App: app, IfVersion: old, Force: true})
	c.must(PutApp{App: app, IfVersion: now, Force: true})
}

func TestVersionsOfTheFirstLevelAreThoseOfTheFirstRelease(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: 1}})
	old, now := remake(c)
	if old != epoch0+1 || now != epoch0 {
		t.Errorf("versions %s and %s, release 0.1.0 gave %s and %s", old, now, epoch0+1, epoch0)
	}
	if n := c.s.View().t.floors.rows.Len(); n != 0 {
		t.Errorf("%d rows that 0.1.0 does not know", n)
	}
}

func TestRaisingTheLevelBoundsVersionsOfAppsRemovedBefore(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: 1}})
	old := c.must(PutApp{App: testApp("/a", 0)}).Version
	c.must(DeleteApp{App: "/a", Force: true})
	c.must(RemoveApp{App: "/a"})
	c.must(RaiseLevel{Level: 2})
	if now := c.must(PutApp{App: testApp("/a", 1)}).Version; now <= old {
		t.Errorf("first version %s, the former life ended with %s", now, old)
	}
}

// An app's versions grow whatever is done to it and whoever reads it back, and
// what is kept for that is one row.
func TestVersionsGrowOverAllLivesOfAnApp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{stores: []*Store{New(), New()}, now: epoch0, given: map[dcos.AppID]dcos.Version{}}
		m.commit(t, encode(t, Proposal{Commands: []Command{InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: 2}}}}))
		n := 0
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if rows := m.view().t.floors.rows.Len(); rows > 1 {
					t.Fatalf("%d floors", rows)
				}
			},
			"write": func(t *rapid.T) {
				app := testApp(string(pick[dcos.AppID](t, "app", "/a", "/b")), 0)
				n++
				app.Cmd = fmt.Sprintf("sleep %d", n)
				m.commit(t, encode(t, Proposal{Commands: []Command{PutApp{App: app, Force: true}}}))
			},
			"delete": func(t *rapid.T) {
				id := pick[dcos.AppID](t, "app", "/a", "/b")
				m.commit(t, encode(t, Proposal{Commands: []Command{DeleteApp{App: id, Force: true}, RemoveApp{App: id}}}))
			},
			"time": func(*rapid.T) { m.now = m.now.Add(time.Millisecond) },
			"replace a store by its snapshot": func(t *rapid.T) {
				m.stores[1] = reread(t, m.stores[1].View())
			},
		})
	})
}
