package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/pkg/client"
)

// killAtRandom kills dcos on one of the hosts after the other, at random, until
// ctx ends, and gives how often it did. systemd starts it again.
func killAtRandom(ctx context.Context, seed uint64, among []*hosts.Host, least, most time.Duration) int {
	dice := rand.New(rand.NewPCG(seed, 0))
	kills := 0
	for pause(ctx, least+time.Duration(dice.Int64N(int64(most-least)))) == nil {
		// Between the kill and the new start there is no process to kill.
		if killUnit(among[dice.IntN(len(among))]) == nil {
			kills++
		}
	}
	return kills
}

// writes are what the writers have seen.
type writes struct {
	mu           sync.Mutex
	acknowledged map[string]bool // by app
	unknown      map[string]error
	refused      int
}

func TestSpineAcknowledgedWritesSurviveMasterKills(t *testing.T) {
	const wanted, writers = 300, 6
	c := sharedCluster(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Minute)
	defer stop()
	killing, endKilling := context.WithCancel(ctx)
	var killer, all sync.WaitGroup
	kills := 0
	killer.Go(func() { kills = killAtRandom(killing, seed, c.masters, 500*time.Millisecond, 1500*time.Millisecond) })

	seen := &writes{acknowledged: map[string]bool{}, unknown: map[string]error{}}
	for w := range writers {
		all.Go(func() { c.write(ctx, t, seen, wanted, w, rand.New(rand.NewPCG(seed, uint64(w)+1))) })
	}
	all.Wait()
	endKilling()
	killer.Wait()
	t.Logf("%d acknowledged, %d of unknown outcome, %d refused, while masters were killed %d times", len(seen.acknowledged), len(seen.unknown), seen.refused, kills)
	if len(seen.acknowledged) < wanted || kills < 3 {
		t.Fatalf("%d writes and %d kills within the time, want %d and 3 at least", len(seen.acknowledged), kills, wanted)
	}
	// What is in no process's memory must be on disk.
	for _, h := range c.masters {
		if err := killUnit(h); err != nil {
			t.Log(err) // it was killed just now
		}
	}
	c.mustBeWhole(t)
	for _, h := range c.masters {
		c.holdsAll(t, h, seen)
	}
	c.clear(t)
}

// write creates apps by random masters until enough are acknowledged.
func (c *cluster) write(ctx context.Context, t *testing.T, seen *writes, wanted, writer int, dice *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		seen.mu.Lock()
		enough := len(seen.acknowledged) >= wanted
		seen.mu.Unlock()
		if enough {
			return
		}
		id := fmt.Sprintf("/writes/w%d-%d", writer, n)
		one, cancel := context.WithTimeout(ctx, 20*time.Second)
		api, err := c.on(c.masters[dice.IntN(len(c.masters))])
		if err == nil {
			_, err = api.CreateApp(one, []byte(fmt.Sprintf(`{"id": %q, "cmd": "true", "instances": 0}`, id)))
		}
		cancel()
		var refusal *client.Error
		seen.mu.Lock()
		switch {
		case err == nil:
			seen.acknowledged[id] = true
		case errors.As(err, &refusal) && refusal.Code != "unknown_outcome" && refusal.Status < 500:
			t.Errorf("create %s: %v; nothing is wrong with it", id, err)
		case errors.As(err, &refusal) && refusal.Code != "unknown_outcome":
			seen.refused++
		default:
			seen.unknown[id] = err
		}
		seen.mu.Unlock()
		// Writes are spread, so that many kills fall among them.
		_ = pause(ctx, time.Duration(dice.Int64N(int64(200*time.Millisecond)))) // ends with ctx, as the loop does
	}
}

// holdsAll checks what a master itself holds: all that was acknowledged, and
// nothing that nobody asked for.
func (c *cluster) holdsAll(t *testing.T, h *hosts.Host, seen *writes) {
	t.Helper()
	eventually(t, 30*time.Second, h.Name()+" holds every acknowledged write", func() error {
		api, err := c.on(h)
		if err != nil {
			return err
		}
		services, err := client.All(t.Context(), api.Services, client.Query{Stale: true, Limit: 500})
		if err != nil {
			return err
		}
		have := map[string]bool{}
		for _, s := range services {
			have[s.ID] = true
		}
		missing := slices.DeleteFunc(slices.Sorted(maps.Keys(seen.acknowledged)), func(id string) bool { return have[id] })
		if len(missing) > 0 {
			return fmt.Errorf("%d are missing, such as %v", len(missing), missing[0])
		}
		return nil
	})
}

func TestSpineHundredExitCodesSurviveAgentKills(t *testing.T) {
	const n = 100
	c := sharedCluster(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	killing, endKilling := context.WithCancel(t.Context())
	defer endKilling()
	var killer sync.WaitGroup
	kills := 0
	killer.Go(func() { kills = killAtRandom(killing, seed, c.agents, 200*time.Millisecond, 1200*time.Millisecond) })
	want := map[string]int{}
	for code := 1; code <= n; code++ {
		id := fmt.Sprintf("/codes/c%d", code)
		want[id] = code
		c.create(t, map[string]any{
			"id": id, "cmd": fmt.Sprintf("sleep %d.%d; exit %d", code%7, code%10, code), "instances": 1, "cpus": 0.05, "mem": 32,
			"backoffSeconds": 3600, "maxLaunchDelaySeconds": 3600,
		})
	}
	var tasks []client.Task
	defer killer.Wait()
	eventually(t, 2*time.Minute, "all tasks have ended", func() error {
		var err error
		if tasks, err = c.tasks(t.Context(), ""); err != nil {
			return err
		}
		var open []string
		done := 0
		for _, k := range tasks {
			switch {
			case ended(k):
				done++
			case k.State != "waiting": // the next attempt, in an hour
				open = append(open, k.ID+" "+k.State)
			}
		}
		if done < n || len(open) > 0 {
			return fmt.Errorf("%d have ended, open are %v", done, open)
		}
		return nil
	})
	endKilling()
	killer.Wait()
	t.Logf("agents were killed %d times", kills)
	if kills < 5 {
		t.Errorf("%d kills, want 5 at least", kills)
	}
	got := map[string]int{}
	for _, k := range tasks {
		if !ended(k) {
			continue
		}
		if _, twice := got[k.App]; twice {
			t.Errorf("%s has ended more than once", k.App)
		}
		if k.Exit == nil || k.State != "failed" || k.Exit.Signal != 0 || k.Exit.Unknown {
			t.Errorf("%s of %s: %s with %+v: %s %s", k.ID, k.App, k.State, k.Exit, k.Reason, k.Message)
			continue
		}
		got[k.App] = k.Exit.Code
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("exit codes:\n%s", d)
	}
	c.mustBeWhole(t)
	c.clear(t)
}

func TestSpineDamagedLogIsNamedAndTheOthersGoOn(t *testing.T) {
	beside(t)
	c := newCluster(t, 3, 0)
	c.create(t, map[string]any{"id": "/before", "cmd": "true", "instances": 0})
	var hurt *hosts.Host
	leader := c.mustLeader(t)
	for _, h := range c.masters {
		if h != leader {
			hurt = h
		}
	}
	// A byte in the middle of what was durable: no torn tail looks like that.
	file := strings.TrimSpace(mustRun(t, hurt, "sh", "-c", `systemctl stop dcos
		f=$(ls /var/lib/dcos/master/raft/*.seg | head -1)
		printf '\377\377\377\377' | dd of=$f bs=1 seek=$(( $(stat -c %s $f) / 2 )) conv=notrunc 2>/dev/null
		systemctl start --no-block dcos
		echo $f`))
	eventually(t, 30*time.Second, "the damaged master names the file and what to do", func() error {
		status := mustRun(t, hurt, "systemctl", "show", "--property=StatusText", "--value", "dcos.service")
		for _, w := range []string{filepath.Base(file), "damaged", "does not vote", "dcos master wipe --yes"} {
			if !strings.Contains(status, w) {
				return fmt.Errorf("its status lacks %q: %s", w, status)
			}
		}
		return nil
	})
	c.create(t, map[string]any{"id": "/meanwhile", "cmd": "true", "instances": 0})
	for _, h := range c.masters {
		if h != hurt {
			c.holdsAll(t, h, &writes{acknowledged: map[string]bool{"/before": true, "/meanwhile": true}})
		}
	}

	// The repair that the status names, word for word.
	status, err := c.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := ""
	for _, m := range status.Masters {
		if strings.HasPrefix(m.API, hurt.IP()+":") {
			old = m.ID
		}
	}
	repair := repairOf(t, hurt)
	mustRun(t, hurt, "sh", "-c", repair)
	eventually(t, time.Minute, "three masters vote, the repaired one among them", func() error {
		status, err := c.status(t.Context())
		if err != nil {
			return err
		}
		for _, m := range status.Masters {
			if !m.Voter || !m.Alive || m.ID == old || len(status.Masters) != 3 {
				return fmt.Errorf("masters are %+v", status.Masters)
			}
		}
		return nil
	})
	c.holdsAll(t, hurt, &writes{acknowledged: map[string]bool{"/before": true, "/meanwhile": true}})
}

// repairOf is the command that a failed master's status names.
func repairOf(t *testing.T, h *hosts.Host) string {
	t.Helper()
	status := mustRun(t, h, "systemctl", "show", "--property=StatusText", "--value", "dcos.service")
	m := regexp.MustCompile(`run on its machine: (.*?) \(`).FindStringSubmatch(status)
	if m == nil {
		t.Fatalf("%s: no repair in the status: %s", h.Name(), status)
	}
	return m[1]
}
