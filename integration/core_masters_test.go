package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/pkg/client"
)

func TestCoreMastersJoinLeavePromoteDemote(t *testing.T) {
	beside(t)
	c := newCluster(t, 1, 0)
	c.create(t, map[string]any{"id": "/first", "cmd": "true", "instances": 0})
	only := c.masterID(t, c.masters[0])
	for _, change := range []string{"leave", "demote"} {
		if out, err := c.dcos(t, "master", change, only); err == nil || !strings.Contains(err.Error(), "only one that votes") {
			t.Errorf("%s of the only master: %v %s", change, err, out)
		}
	}

	// Two more: one by install, one by the command that only makes the directory.
	fresh := c.more(t, "m2", "m3")
	if err := c.add(t.Context(), fresh[0], true); err != nil {
		t.Fatal(err)
	}
	line := c.lines["master"]
	token := ""
	for i, w := range line {
		if w == "--token" {
			token = line[i+1]
		}
	}
	mustWrite(t, fresh[1], "/root/token", []byte(token))
	mustRun(t, fresh[1], installer, "master", "join", c.masters[0].IP(), "--token-file", "/root/token")
	third := ""
	eventually(t, 10*time.Second, "the joined master is a learner before it was ever started", func() error {
		s, err := c.status(t.Context())
		if err != nil {
			return err
		}
		for _, m := range s.Masters {
			if strings.HasPrefix(m.API, fresh[1].IP()+":") && !m.Voter {
				third = m.ID
				return nil
			}
		}
		return fmt.Errorf("masters are %+v", s.Masters)
	})
	if out, err := c.dcos(t, "master", "promote", third, "--timeout", "2s"); err == nil || !strings.Contains(err.Error(), "caught up") {
		t.Errorf("promote one that has nothing: %v %s", err, out)
	}
	if _, err := install(t.Context(), fresh[1], "--role", "master", "--join", c.masters[0].IP(), "--token", token); err != nil {
		t.Fatal(err)
	}
	c.masters = append(c.masters, fresh...)
	c.mustBeWhole(t)
	if now := c.masterID(t, fresh[1]); now != third {
		t.Errorf("the master was %s and is %s", third, now)
	}

	// Demoted it follows, across restarts; promoted it votes.
	c.mustDcos(t, "master", "demote", fresh[0].IP())
	c.votes(t, fresh[0], false)
	c.killUnit(t, fresh[0])
	throughout(t, 3*time.Second, "a demoted master stays a learner", func() error { return c.isVoter(t.Context(), fresh[0], false) })
	c.mustDcos(t, "master", "promote", fresh[0].IP())
	c.votes(t, fresh[0], true)
	// A leader demotes itself by way of the next one.
	leader := c.mustLeader(t)
	c.mustDcos(t, "master", "demote", leader.IP())
	c.votes(t, leader, false)
	if now := c.otherLeader(t, leader); now == leader {
		t.Error("a learner leads")
	}
	c.mustDcos(t, "master", "promote", leader.IP())
	c.mustBeWhole(t)

	// With one of three dead no other may go.
	dead := c.follower(t)
	c.holdDown(t, dead)
	alive := c.mustLeader(t)
	eventually(t, 20*time.Second, "a change that loses the majority is refused", func() error {
		_, err := c.dcos(t, "master", "leave", alive.IP(), "--timeout", "5s")
		if err == nil {
			t.Fatal("it was not refused")
		}
		if !strings.Contains(err.Error(), "of which only 1 answer") {
			return err
		}
		return nil
	})
	c.letUp(t, dead)
	c.mustBeWhole(t)
	// One that lives leaves; its process ends and does not come back as a member.
	gone := c.mustLeader(t)
	eventually(t, 30*time.Second, "the leader leaves", func() error {
		_, err := c.dcos(t, "master", "leave", gone.IP()) // refused until the others have heard of the one that is back
		return err
	})
	failed(t, gone, "was removed from the cluster")
	staysDown(t, gone)
	var left []*hosts.Host
	for _, h := range c.masters {
		if h != gone {
			left = append(left, h)
		}
	}
	mustRun(t, gone, "systemctl", "stop", "dcos")
	c.masters = left
	c.mustBeWhole(t)
	for _, h := range c.masters {
		c.holdsAll(t, h, &writes{acknowledged: map[string]bool{"/first": true}})
	}
	c.masters = append(c.masters, gone)
}

func (c *cluster) mustDcos(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.dcos(t, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// isVoter says nil when a host's master is a voter, or is a learner.
func (c *cluster) isVoter(ctx context.Context, h *hosts.Host, want bool) error {
	s, err := c.status(ctx)
	if err != nil {
		return err
	}
	for _, m := range s.Masters {
		if strings.HasPrefix(m.API, h.IP()+":") && m.Voter == want {
			return nil
		}
	}
	return fmt.Errorf("masters are %+v, want voter %v on %s", s.Masters, want, h.Name())
}

func (c *cluster) votes(t *testing.T, h *hosts.Host, want bool) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("vote of %s is %v", h.Name(), want), func() error { return c.isVoter(t.Context(), h, want) })
}

func TestCoreLeadershipIsHandedOverOnShutdown(t *testing.T) {
	beside(t)
	c := newCluster(t, 3, 0)
	for round := range 3 {
		leader := c.mustLeader(t)
		w := c.startWriting(t, fmt.Sprintf("/handover%d", round))
		eventually(t, 30*time.Second, "writes go on", func() error {
			if w.count() < 20 {
				return errors.New("too few")
			}
			return nil
		})
		began := time.Now()
		mustRun(t, leader, "systemctl", "stop", "dcos")
		t.Logf("the process ended after %v", time.Since(began).Round(time.Millisecond))
		journal := mustRun(t, leader, "journalctl", "-u", "dcos", "-n", "200", "--no-pager", "-o", "cat")
		i := strings.LastIndex(journal, "leadership handed over")
		if i < 0 {
			t.Fatalf("leadership was not handed over:\n%s", tail(journal, 3000))
		}
		line, _, _ := strings.Cut(journal[i:], "\n")
		t.Log(line)
		c.otherLeader(t, leader)
		w.stop()
		mustRun(t, leader, "systemctl", "start", "dcos")
		c.mustBeWhole(t)
		for _, h := range c.masters {
			c.holdsAll(t, h, w.seen)
		}
	}
}

func TestCoreRolledBackMasterIsRefused(t *testing.T) {
	beside(t)
	c := newCluster(t, 3, 0)
	h := c.follower(t)
	old := c.masterID(t, h)
	// A copy of the disk; the master runs on, and starts again twice.
	mustRun(t, h, "sh", "-c", "systemctl stop dcos; cp -a /var/lib/dcos /root/copy; systemctl start dcos")
	c.mustBeWhole(t)
	for i := range 20 {
		c.create(t, map[string]any{"id": fmt.Sprintf("/after%d", i), "cmd": "true", "instances": 0})
	}
	mustRun(t, h, "sh", "-c", "systemctl restart dcos")
	c.mustBeWhole(t)
	mustRun(t, h, "sh", "-c", "systemctl stop dcos; rm -rf /var/lib/dcos; cp -a /root/copy /var/lib/dcos; systemctl start --no-block dcos")
	failed(t, h, "an old copy", "/var/lib/dcos/master", "dcos master wipe --yes")
	// It counts for nothing, and what the status names mends it.
	mustRun(t, h, "sh", "-c", repairOf(t, h))
	c.mustBeWhole(t)
	if now := c.masterID(t, h); now == old {
		t.Error("it is a member under its old id")
	}
	c.holdsAll(t, h, &writes{acknowledged: map[string]bool{"/after0": true, "/after19": true}})
}

func TestCoreDamagedFilesNameTheFileAndTheRepair(t *testing.T) {
	beside(t)
	c := newCluster(t, 3, 0)
	seen := &writes{acknowledged: map[string]bool{}}
	for i := range 30 {
		id := fmt.Sprintf("/w%d", i)
		c.create(t, map[string]any{"id": id, "cmd": "true", "instances": 0})
		seen.acknowledged[id] = true
	}
	const log, snap = "$(ls /var/lib/dcos/master/raft/*.seg | head -1)", "$(ls /var/lib/dcos/master/snapshots/*.snap | head -1)"
	for _, tt := range []struct{ name, damage, file string }{
		{"a bit of the log", `f=` + log + `; printf '\001' | dd of=$f bs=1 seek=100 conv=notrunc`, ".seg"},
		{"log cut to its head", `f=` + log + `; truncate -s 40 $f`, ".seg"},
		{"log of zeros", `f=` + log + `; n=$(stat -c %s $f); rm $f; truncate -s $n $f`, ".seg"},
		{"zeros in the log", `f=` + log + `; dd if=/dev/zero of=$f bs=1 count=200 seek=200 conv=notrunc`, ".seg"},
		{"a bit of the snapshot", `f=` + snap + `; printf '\377' | dd of=$f bs=1 seek=60 conv=notrunc`, ".snap"},
		{"snapshot cut", `f=` + snap + `; truncate -s -5 $f`, ".snap"},
		{"snapshot gone", `f=` + snap + `; rm $f`, ".snap"},
		{"start counter of zeros", `f=/var/lib/dcos/master/raft/incarnation; truncate -s 0 $f; truncate -s 20 $f`, "incarnation"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := c.follower(t)
			mustRun(t, h, "sh", "-c", "systemctl stop dcos; "+tt.damage+" 2>/dev/null; systemctl start --no-block dcos")
			failed(t, h, tt.file, "damaged", "does not vote", "/var/lib/dcos/master", "dcos master wipe --yes")
			api, err := c.on(h)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := api.Masters(t.Context(), client.Query{Stale: true}); err == nil {
				t.Error("the damaged master answers")
			}
			mustRun(t, h, "sh", "-c", repairOf(t, h))
			c.mustBeWhole(t)
			c.holdsAll(t, h, seen)
		})
	}
}
