package integration

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/pkg/client"
)

// keysOf are the gossip keys that a host keeps; the first encrypts.
func keysOf(h *hosts.Host) ([]string, error) {
	b, err := h.ReadFile("/var/lib/dcos/gossip.keys")
	if err != nil {
		return nil, err
	}
	var keys []string
	return keys, json.Unmarshal(b, &keys)
}

// holds says nil when a host keeps exactly this key, wherever it keeps keys.
func holds(h *hosts.Host, key string) error {
	keys, err := keysOf(h)
	if err != nil {
		return err
	}
	if len(keys) != 1 || keys[0] != key {
		return fmt.Errorf("%s keeps %d keys, or not the new one", h.Name(), len(keys))
	}
	for _, name := range []string{"/var/lib/dcos/agent/gossip", "/var/lib/dcos/gossip.keys.good"} {
		b, err := h.ReadFile(name)
		if err != nil {
			continue // a master keeps it with its secrets
		}
		if !strings.Contains(string(b), key) || strings.Count(string(b), "=") != strings.Count(key, "=") {
			return fmt.Errorf("%s: %s does not hold the new key alone", h.Name(), name)
		}
	}
	return nil
}

func (c *cluster) gossipKeys(ctx context.Context) (client.GossipKeys, error) {
	return answer(ctx, c, func(ctx context.Context, api *client.Client) (client.GossipKeys, error) { return api.GossipKeys(ctx) })
}

// settledOn waits until a number of members have the same single key.
func (c *cluster) settledOn(t *testing.T, members int, limit time.Duration) client.GossipKeys {
	t.Helper()
	var keys client.GossipKeys
	eventually(t, limit, fmt.Sprintf("%d members agree on one gossip key", members), func() (err error) {
		if keys, err = c.gossipKeys(t.Context()); err != nil {
			return err
		}
		if keys.Step != "settled" || len(keys.Keys) != 1 || keys.Members != members || len(keys.Waiting) != 0 {
			return fmt.Errorf("%+v", keys)
		}
		return nil
	})
	return keys
}

func TestCoreGossipKeyRotation(t *testing.T) {
	beside(t)
	c := newCluster(t, 3, 3)
	before := c.settledOn(t, 6, time.Minute)
	old, err := keysOf(c.masters[0])
	if err != nil || len(old) != 1 {
		t.Fatalf("the first master keeps %d gossip keys, %v", len(old), err)
	}
	away := c.agents[2]
	if err := away.PowerOff(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "gossip misses the host", func() error {
		k, err := c.gossipKeys(t.Context())
		if err == nil && k.Members != 5 {
			err = fmt.Errorf("%d members", k.Members)
		}
		return err
	})

	out, err := c.dcos(t, "gossip", "key", "rotate", "--dry-run")
	if k, kerr := c.gossipKeys(t.Context()); err != nil || kerr != nil || k.Serial != before.Serial {
		t.Errorf("a dry run changed the keys: %+v, %v, %v %s", k, kerr, err, out)
	}
	if out, err = c.dcos(t, "gossip", "key", "rotate"); err != nil {
		t.Fatal(err)
	}
	now := c.settledOn(t, 5, 2*time.Minute)
	if now.Keys[0].ID == before.Keys[0].ID || now.Serial < before.Serial+3 {
		t.Errorf("keys are %+v, were %+v; the command said %s", now, before, out)
	}
	fresh, err := keysOf(c.masters[0])
	if err != nil || len(fresh) != 1 || fresh[0] == old[0] {
		t.Fatalf("the first master keeps %d gossip keys, changed: %v, %v", len(fresh), !slices.Equal(fresh, old), err)
	}
	for _, h := range append(slices.Clone(c.masters), c.agents[:2]...) {
		eventually(t, 30*time.Second, h.Name()+" keeps the new key alone", func() error { return holds(h, fresh[0]) })
	}

	// The host that was away has the old key only, and nobody hears it.
	if err := away.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.settledOn(t, 6, 2*time.Minute)
	eventually(t, 30*time.Second, "the host that was away keeps the new key alone", func() error { return holds(away, fresh[0]) })
	c.mustBeWhole(t)

	// What is stored is the new key: all processes start again with it.
	for _, h := range c.all() {
		c.killUnit(t, h)
	}
	c.mustBeWhole(t)
	if again := c.settledOn(t, 6, 2*time.Minute); again.Keys[0] != now.Keys[0] {
		t.Errorf("after a restart of all the key is %+v, was %+v", again.Keys, now.Keys)
	}
	for _, h := range c.all() {
		if text := mustRun(t, h, "journalctl", "-u", "dcos", "--no-pager"); strings.Contains(text, fresh[0]) || strings.Contains(text, old[0]) {
			t.Errorf("the log of %s holds a gossip key", h.Name())
		}
	}
}

// deadPacket is memberlist's message that a member is dead, sealed with a key.
func deadPacket(t *testing.T, key, member string) []byte {
	t.Helper()
	text := func(s string) string { return "\xd9" + string(rune(len(s))) + s }
	msg := []byte("\x05\x83" + "\xabIncarnation\xcd\x7f\xff" + "\xa4Node" + text(member) + "\xa4From" + text("nobody"))
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, gcm.NonceSize())
	return append(append([]byte{1}, nonce...), gcm.Seal(nil, nonce, msg, nil)...)
}

func TestCoreGossipJunk(t *testing.T) {
	c := sharedCluster(t)
	c.settledOn(t, 6, time.Minute)
	from, target := c.agents[0], c.masters[0]
	old, err := keysOf(target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.dcos(t, "gossip", "key", "rotate"); err != nil {
		t.Fatal(err)
	}
	c.settledOn(t, 6, 2*time.Minute)
	fresh, err := keysOf(target)
	if err != nil {
		t.Fatal(err)
	}
	victim := ""
	for id, h := range c.nodes {
		if h == c.agents[1] {
			victim = id
		}
	}
	// Whether the target ever held the victim for dead is in its log.
	held := func(since string) bool {
		text := mustRun(t, target, "journalctl", "-u", "dcos", "--no-pager", "--since", since)
		return strings.Contains(text, victim) && strings.Contains(text, "member-failed")
	}
	clock := func() string { return strings.TrimSpace(mustRun(t, target, "date", "+%Y-%m-%d %H:%M:%S.%6N")) }
	send := func(name string, b []byte) {
		t.Helper()
		if err := from.WriteFile("/tmp/"+name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		mustRun(t, from, "bash", "-c", "for i in 1 2 3; do cat /tmp/"+name+" > /dev/udp/"+target.IP()+"/7946; done")
	}
	pid := func() int {
		p, err := mainPid(target)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	began, process := clock(), pid()
	plain := []byte("\x05\x83\xabIncarnation\x7f\xa4Node\xd9" + string(rune(len(victim))) + victim + "\xa4From\xa6nobody")
	send("plain", plain)
	send("old", deadPacket(t, old[0], victim))
	flood := "for i in $(seq 40); do dd if=/dev/urandom bs=1400 count=50 status=none > /dev/udp/" + target.IP() + "/7946; done"
	mustRun(t, from, "bash", "-c", flood)
	mustRun(t, from, "bash", "-c", "for i in $(seq 50); do head -c 100000 /dev/urandom > /dev/tcp/"+target.IP()+"/7946; done 2>/dev/null; true")
	if held(began) {
		t.Error("plain text, or a packet under the old key, made a member be held for dead")
	}
	c.settledOn(t, 6, time.Minute)
	if now := pid(); now != process {
		t.Errorf("the process of %s ended under junk", target.Name())
	}
	lines := strings.Count(mustRun(t, target, "journalctl", "-u", "dcos", "--no-pager", "--since", began), "\n")
	if lines > 500 {
		t.Errorf("junk made %d lines of log", lines)
	}
	// The same packet under the present key is heard: the test can fail.
	send("fresh", deadPacket(t, fresh[0], victim))
	eventually(t, 20*time.Second, "a packet of a member is heard", func() error {
		if !held(began) {
			return fmt.Errorf("nobody was held for dead")
		}
		return nil
	})
	c.settledOn(t, 6, time.Minute)
	c.mustBeWhole(t)
}
