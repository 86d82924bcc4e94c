package state

import (
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Several proposals share an entry: whose a change is, it says itself.
func TestEveryChangeSaysWhoCausedItAndByWhat(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: Level}})
	c.must(PutNode{Node: testNode("n1")})
	k := c.start(testApp("/a", 1))[0]
	c.apply(
		encode(t, Proposal{Principal: "ann", Commands: []Command{PutUser{User: dcos.User{ID: "u"}}}}),
		encode(t, Proposal{Commands: []Command{Place{Items: []Placement{{Task: k.ID, Node: "n1"}}}}}),
		encode(t, Proposal{Principal: "bob", Commands: []Command{All{Commands: []Command{PutRole{Role: "eng"}, PutQuota{Role: "eng"}}}}}),
	)
	if c.last.Index != c.index || c.last.Principal != "" {
		t.Errorf("commit %d by %q, want %d and nobody in particular", c.last.Index, c.last.Principal, c.index)
	}
	want := map[Table][][2]string{
		TableUsers: {{"put-user", "ann"}}, TableTasks: {{"place", ""}}, TableRoles: {{"put-role", "bob"}, {"put-quota", "bob"}},
	}
	for _, ch := range c.last.Changes {
		if ch.Table == TableAudit {
			continue
		}
		left := want[ch.Table]
		if len(left) == 0 || left[0] != [2]string{ch.Cause, ch.Principal} {
			t.Errorf("change of %s %s: %s by %q, want %v", ch.Table, ch.Key, ch.Cause, ch.Principal, left)
			continue
		}
		want[ch.Table] = left[1:]
	}
	for table, left := range want {
		if len(left) > 0 {
			t.Errorf("no change of %s: %v", table, left)
		}
	}
}

// ended makes apps with one ended task each.
func ended(c *cluster, apps int) {
	for i := range apps {
		app := testApp("/x"+string(rune('a'+i/26))+string(rune('a'+i%26)), 1)
		k := c.start(app)[0]
		c.must(StopTasks{Tasks: []dcos.TaskID{k.ID}, Final: true})
	}
}

func TestEndedTasksAreForgottenByAgeAFewPerEntry(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: Level}})
	const n = maxExpired + 10
	ended(c, n)
	kept := func() int { return c.s.View().t.tasks.Len() }
	for range int(MaxEndedAge/MaxJump) - 1 {
		c.now = c.now.Add(MaxJump)
		c.do()
	}
	c.now = epoch0.Add(MaxEndedAge)
	if c.do(); kept() != n {
		t.Fatalf("%d of %d ended tasks are left before their time", kept(), n)
	}
	c.now = c.now.Add(time.Millisecond)
	if c.do(); kept() != n-maxExpired {
		t.Errorf("%d ended tasks are left, want %d", kept(), n-maxExpired)
	}
	for _, ch := range c.last.Changes {
		if ch.Cause != "expire" || ch.Principal != "" || ch.New != nil {
			t.Errorf("change %+v", ch)
		}
	}
	if c.do(); kept() != 0 {
		t.Errorf("%d ended tasks are left, want none", kept())
	}
}

// Masters of the first release keep ended tasks, and must stay equal.
func TestEndedTasksAreKeptBelowLevelTwo(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: 1}})
	ended(c, 3)
	for range 10 {
		c.now = c.now.Add(MaxJump)
		c.do()
	}
	if n := c.s.View().t.tasks.Len(); n != 3 {
		t.Errorf("%d ended tasks are left, want 3", n)
	}
}
