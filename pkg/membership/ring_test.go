package membership

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/serf/serf"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// vault is what masters would answer to those who ask for the keys.
type vault struct {
	mu     sync.Mutex
	serial uint64   // guarded by mu
	keys   [][]byte // guarded by mu
	asked  int      // guarded by mu
	down   bool     // guarded by mu
}

func (v *vault) fetch(context.Context) ([][]byte, uint64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked++
	if v.down {
		return nil, 0, dcos.ErrUnavailable
	}
	return v.keys, v.serial, nil
}

func (v *vault) set(serial uint64, keys ...[]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.serial, v.keys = serial, keys
}

func (v *vault) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.asked
}

// ringWorld is a master and agents on one network.
func ringWorld(t *testing.T, v *vault, agents int, tune func(i int, c *Config)) (gs []*Gossip, stop []func()) {
	t.Helper()
	n := newNetwork(1, 0)
	return swarmOf(t, n, agents+1, func(i int, c *Config) {
		if i == 0 {
			c.Master = 1
		} else {
			c.FetchKeys = v.fetch
		}
		if tune != nil {
			tune(i, c)
		}
	})
}

// step is one step of a change: what the state does on the masters.
func (v *vault) step(t *testing.T, master *Gossip, serial uint64, keys ...[]byte) {
	t.Helper()
	v.set(serial, keys...)
	if err := master.SetKeys(serial, keys); err != nil {
		t.Fatal(err)
	}
}

// agree waits until all members confirm the keys of the first.
func agree(t *testing.T, g *Gossip) {
	t.Helper()
	var lagging []string
	for range 100 {
		var err error
		if lagging, err = g.Lagging(t.Context()); err == nil && len(lagging) == 0 {
			return
		}
		<-time.After(time.Second)
	}
	t.Fatalf("members without the keys: %v", lagging)
}

func TestKeysAreChangedStepByStepWhileMembersRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		v := &vault{}
		v.set(0, key(1))
		gs, stop := ringWorld(t, v, 5, func(i int, c *Config) {
			if i == 1 {
				c.KeyringFile = filepath.Join(dir, "keys")
			}
		})
		settle(t, "join", gs, 6, time.Minute)
		agree(t, gs[0])
		if n := v.count(); n != 0 {
			t.Errorf("%d members asked for keys that they have", n)
		}
		for serial, keys := range [][][]byte{1: {key(1), key(2)}, 2: {key(2), key(1)}, 3: {key(2)}} {
			if serial > 0 {
				v.step(t, gs[0], uint64(serial), keys...)
				agree(t, gs[0])
				settle(t, "while the keys change", gs, 6, time.Second)
			}
		}
		if n := v.count(); n != 15 {
			t.Errorf("5 agents asked %d times, want once for each of 3 steps", n)
		}
		for _, g := range gs {
			if have := g.ring.GetKeys(); len(have) != 1 || !bytes.Equal(have[0], key(2)) {
				t.Errorf("%s holds %d keys, want the new one alone", g.cfg.name(), len(have))
			}
		}
		for _, name := range []string{"keys", "keys" + goodSuffix} {
			keys, err := loadKeys(filepath.Join(dir, name))
			if err != nil || len(keys) != 1 || !bytes.Equal(keys[0], key(2)) {
				t.Errorf("%s on disk: %d keys, %v; want the new one alone", name, len(keys), err)
			}
		}
		if err := gs[0].SetKeys(2, [][]byte{key(1)}); err != nil || !bytes.Equal(gs[0].ring.GetPrimaryKey(), key(2)) {
			t.Errorf("an older serial was taken over: %v", err)
		}
		if err := gs[0].SetKeys(9, [][]byte{[]byte("short")}); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("short key: %v", err)
		}
		end(stop)
	})
}

func TestMembersWithTheLongestNamesAskAndAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vault{}
		v.set(0, key(1))
		gs, stop := ringWorld(t, v, 2, func(_ int, c *Config) {
			c.Node = dcos.NodeID(strings.Repeat("x", maxName-len(c.Node))) + c.Node
		})
		settle(t, "join", gs, 3, time.Minute)
		v.step(t, gs[0], 1<<63, key(1), key(2))
		agree(t, gs[0])
		end(stop)
	})
}

func TestAMemberThatWasAwayDuringAChangeAsksAMaster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vault{}
		v.set(3, key(2))
		// The last one starts with the key from before the change.
		gs, stop := ringWorld(t, v, 3, func(i int, c *Config) {
			if i < 3 {
				c.Keys = [][]byte{key(2)}
			}
		})
		if err := gs[0].SetKeys(3, [][]byte{key(2)}); err != nil {
			t.Fatal(err)
		}
		settle(t, "the one that was away is back", gs, 4, time.Minute)
		agree(t, gs[0])
		end(stop)
	})
}

func TestMembersThatCannotAskGoOnWithTheirKeysAndAskSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vault{down: true}
		gs, stop := ringWorld(t, v, 1, nil)
		settle(t, "join", gs, 2, time.Minute)
		if err := gs[0].SetKeys(1, [][]byte{key(1), key(2)}); err != nil {
			t.Fatal(err)
		}
		<-time.After(10 * time.Minute)
		if n := v.count(); n < 3 || n > 20 {
			t.Errorf("asked %d times in 10 minutes, want a few", n)
		}
		settle(t, "both keys decrypt", gs, 2, time.Second)
		late, err := gs[0].Lagging(t.Context())
		if diff := cmp.Diff([]string{"n01"}, late); diff != "" || err != nil {
			t.Errorf("lagging: %s%v", diff, err)
		}
		end(stop)
	})
}

func TestNobodyIsToldAKeyByGossipNorCanChangeThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vault{}
		v.set(0, key(1))
		gs, stop := ringWorld(t, v, 2, func(i int, c *Config) {
			if inner := c.tune; i == 2 {
				c.tune = func(sc *serf.Config) { inner(sc); sc.QuerySizeLimit, sc.QueryResponseSizeLimit = 1024, 1024 }
			}
		})
		settle(t, "join", gs, 3, time.Minute)
		// One that holds the old key asks with the library's own messages.
		km := gs[2].serf.KeyManager()
		r, err := km.ListKeys()
		if err == nil || r.NumResp != 1 { // its own answer
			t.Errorf("%d members told their keys, %v", r.NumResp-1, err)
		}
		evil := base64.StdEncoding.EncodeToString(key(9))
		_, install := km.InstallKey(evil)
		_, use := km.UseKey(evil)
		t.Logf("the library says %v, %v", install, use)
		<-time.After(2 * keysLook)
		for _, g := range gs {
			if have := g.ring.GetKeys(); len(have) != 1 || !bytes.Equal(have[0], key(1)) {
				t.Errorf("%s holds %d keys after a stranger's change", g.cfg.name(), len(have))
			}
		}
		settle(t, "afterwards", gs, 3, time.Minute)
		end(stop)
	})
}

func TestKeysOnDiskAreThoseOfTheLastChangeAfterARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	cfg := node("a")
	cfg.KeyringFile = path
	a := start(t, cfg)
	if err := a.SetKeys(4, [][]byte{key(5), key(1)}); err != nil {
		t.Fatal(err)
	}
	a.stop()
	b := start(t, cfg)
	if got, want := b.Ring().Keys, ringOf(0, [][]byte{key(5), key(1)}).Keys; got != want {
		t.Errorf("after the restart it holds ring %s, want %s", got, want)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("keyring: %v, %v; want mode 0600", st, err)
	}
}

func FuzzMemberTags(f *testing.F) {
	f.Add("n1", "m", "ff", uint8(1))
	f.Add("n1", tagRing, "1.0a0b0c0d", uint8(2))
	f.Add("\x00", "", "\xff\xfe", uint8(9))
	f.Fuzz(func(t *testing.T, name, k, v string, status uint8) {
		m := &serf.Member{Name: name, Tags: map[string]string{k: v, tagCluster: "c1"}, Status: serf.MemberStatus(status), Addr: []byte(v)}
		got := memberOf(*m)
		for _, text := range []string{got.Version, got.API, got.Peer, got.Region, got.Zone, string(got.Node)} {
			if !plain(text) {
				t.Fatalf("tag %q=%q reads as %q", k, v, text)
			}
		}
		if r := got.Ring; r.Keys != "" && parseRing(r.text()) != r {
			t.Fatalf("ring %q reads as %+v", v, r)
		}
		g := newGate("c1")
		err := g.NotifyMerge([]*serf.Member{m})
		if err == nil && (!plain(name) || len(v) > maxTag) {
			t.Fatalf("member %q with %q=%q is let in", name, k, v)
		}
	})
}

func TestTheGateBoundsHowManyMembersThereAre(t *testing.T) {
	t.Parallel()
	g := newGate("c1")
	member := func(name string) []*serf.Member {
		return []*serf.Member{{Name: name, Tags: map[string]string{tagCluster: "c1"}}}
	}
	g.took("a", false)
	for i := range maxMembers - 1 {
		g.took(string(rune('b'))+ringOf(uint64(i), nil).text(), false)
	}
	if err := g.NotifyMerge(member("new")); !errors.Is(err, dcos.ErrExhausted) {
		t.Errorf("one too many: %v", err)
	}
	if err := g.NotifyMerge(member("a")); err != nil {
		t.Errorf("a known one: %v", err)
	}
	g.took("a", true)
	if err := g.NotifyMerge(member("new")); err != nil {
		t.Errorf("after one was forgotten: %v", err)
	}
}
