package membership

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Ring names a set of gossip keys without telling them.
type Ring struct {
	Serial uint64 // of the change that the keys came with; 0 is that of the cluster's start
	Keys   string // fingerprint of all keys in their order; "" is not known
}

func (r Ring) text() string { return strconv.FormatUint(r.Serial, 16) + "." + r.Keys }

func parseRing(s string) Ring {
	serial, keys, ok := strings.Cut(s, ".")
	n, err := strconv.ParseUint(serial, 16, 64)
	if !ok || err != nil || len(keys) != 8 {
		return Ring{}
	}
	return Ring{n, keys}
}

func ringOf(serial uint64, keys [][]byte) Ring {
	return Ring{serial, dcos.KeyFingerprint(bytes.Join(keys, nil))}
}

// ringQuery asks every member which keys it has.
const ringQuery = "dcos-ring"

// Ring is which keys this member has.
func (g *Gossip) Ring() Ring {
	g.mu.Lock()
	defer g.mu.Unlock()
	return ringOf(g.serial, g.keys)
}

// SetKeys makes these the keys of this member: the first encrypts, all decrypt,
// and others do not any more. They are durable before they are used. An older
// serial than the present one changes nothing.
func (g *Gossip) SetKeys(serial uint64, keys [][]byte) error {
	if err := checkKeys(keys); err != nil {
		return err
	}
	if changed, err := g.takeKeys(serial, keys); err != nil || !changed || g.cfg.Master == 0 {
		return err
	}
	return g.retag(func(tags map[string]string) { tags[tagRing] = g.Ring().text() })
}

func (g *Gossip) takeKeys(serial uint64, keys [][]byte) (changed bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	same := slices.EqualFunc(keys, g.keys, bytes.Equal)
	if serial < g.serial || serial == g.serial && same {
		return false, nil
	}
	if g.cfg.KeyringFile != "" && !same {
		if err := WriteKeyring(g.cfg.KeyringFile, keys); err != nil {
			return false, err
		}
		// The second file is for a first one that somebody has damaged; it must
		// not keep a key that was taken away.
		if err := WriteKeyring(g.cfg.KeyringFile+goodSuffix, keys); err != nil {
			return false, err
		}
	}
	g.serial, g.keys = serial, keys
	return true, g.useKeys()
}

// useKeys makes memberlist's keyring what it should be; g.mu is held. It is
// called again and again, because members may change each other's keyrings by
// messages of the library.
func (g *Gossip) useKeys() error {
	for _, k := range g.keys {
		if err := g.ring.AddKey(bytes.Clone(k)); err != nil {
			return fmt.Errorf("take over a gossip key: %w: %w", dcos.ErrInvalid, err)
		}
	}
	if err := g.ring.UseKey(g.keys[0]); err != nil {
		return fmt.Errorf("use a gossip key: %w: %w", dcos.ErrInvalid, err)
	}
	// From the last to the first: memberlist moves what is behind a key that it
	// removes while others may read it.
	have := g.ring.GetKeys()
	for i := len(have) - 1; i > 0; i-- {
		if k := have[i]; !slices.ContainsFunc(g.keys, func(w []byte) bool { return bytes.Equal(w, k) }) {
			if err := g.ring.RemoveKey(k); err != nil {
				return fmt.Errorf("remove a gossip key: %w: %w", dcos.ErrInvalid, err)
			}
		}
	}
	return nil
}

// retag changes what this member says of itself, and spreads it. serf waits up
// to a second until it was sent, so no lock that others need is held; what was
// not sent in time is sent on, and told to everyone who joins.
func (g *Gossip) retag(change func(tags map[string]string)) error {
	g.tagging <- struct{}{} // serf.SetTags must not run twice at once
	defer func() { <-g.tagging }()
	tags := maps.Clone(g.tags)
	change(tags)
	if maps.Equal(tags, g.tags) {
		return nil
	}
	g.tags = tags
	err := g.serf.SetTags(maps.Clone(tags)) // the map is serf's from here on
	if err != nil && maps.Equal(g.serf.LocalMember().Tags, tags) {
		return nil // not sent in time, with many members
	}
	return err
}

// Lagging asks every living member which keys it has, and names those that do
// not have the keys of this one, or do not answer.
func (g *Gossip) Lagging(ctx context.Context) ([]string, error) {
	want := g.Ring().Keys
	waiting := map[string]bool{}
	for _, m := range g.Members() {
		if m.State == Alive {
			waiting[m.Name] = true
		}
	}
	params := g.serf.DefaultQueryParams()
	params.Timeout = max(params.Timeout, askLeast)
	answers, err := g.serf.Query(ringQuery, nil, params)
	if err != nil {
		return nil, fmt.Errorf("ask members for their gossip keys: %w: %w", dcos.ErrUnavailable, err)
	}
	defer answers.Close()
	for len(waiting) > 0 {
		select {
		case a, ok := <-answers.ResponseCh():
			if !ok {
				return slices.Sorted(maps.Keys(waiting)), nil
			}
			if parseRing(string(a.Payload)).Keys == want {
				delete(waiting, a.From)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, nil
}

// answer tells a member that asks which keys this one has.
func (g *Gossip) answer(q *serf.Query) {
	if q.Name != ringQuery {
		return
	}
	if err := q.Respond([]byte(g.Ring().text())); err != nil {
		g.log.Debug("gossip query not answered", "from", q.SourceNode(), "error", err)
	}
}

// The times of looking after the keys.
const (
	askLeast   = 3 * time.Second
	keysLook   = time.Second
	fetchFirst = 5 * time.Second // between two fetches
	fetchLast  = time.Minute
	fetchEach  = 5 * time.Millisecond // per member: that many fetches hit the masters spread over time
	fetchWide  = 30 * time.Second
	fetchLimit = 20 * time.Second
)

// keepKeys looks after the keys until ctx ends.
func (g *Gossip) keepKeys(ctx context.Context) {
	tick := time.NewTicker(keysLook)
	defer tick.Stop()
	var at time.Time // of the next fetch; zero: none is planned
	pause, last := fetchFirst, time.Time{}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-g.serf.ShutdownCh():
			return
		}
		g.restore()
		if g.cfg.FetchKeys == nil {
			continue
		}
		n, outdated := g.outdated()
		now := time.Now()
		switch {
		case !outdated:
			at, pause = time.Time{}, fetchFirst
			continue
		case at.IsZero():
			at = now.Add(rand.N(min(max(time.Duration(n)*fetchEach, 1), fetchWide))) //nolint:gosec // spreads load, keeps no secret
			if !last.IsZero() && at.Before(last.Add(pause)) {
				at = last.Add(pause)
			}
		}
		if now.Before(at) {
			continue
		}
		if last, at = now, (time.Time{}); g.fetch(ctx) {
			pause = fetchFirst
		} else {
			pause = min(2*pause, fetchLast)
		}
	}
}

// restore undoes what another member may have done to the keyring by the
// library's own messages.
func (g *Gossip) restore() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.EqualFunc(g.ring.GetKeys(), g.keys, bytes.Equal) {
		return
	}
	if err := g.useKeys(); err != nil {
		g.log.Warn("gossip keys not restored", "error", err)
	}
}

// outdated says that this member's keys are not the cluster's: a master says
// so, or nobody can be reached, which may be for that reason. n is how many
// members there are.
func (g *Gossip) outdated() (n int, yes bool) {
	var newest Ring
	ms := g.Members()
	others := false
	for _, m := range ms {
		if m.State != Alive || m.Name == g.cfg.name() {
			continue
		}
		others = true
		if m.IsMaster() && m.Ring.Keys != "" && m.Ring.Serial >= newest.Serial {
			newest = m.Ring
		}
	}
	if !others {
		return len(ms), g.cfg.Seeds != nil && len(g.seeds()) > 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if newest.Keys == "" || newest.Serial <= g.serial && g.serial != 0 || newest == ringOf(g.serial, g.keys) {
		return len(ms), false
	}
	if newest.Keys == ringOf(0, g.keys).Keys {
		g.serial = newest.Serial // the same keys, read from the file at the start
		return len(ms), false
	}
	return len(ms), true
}

// fetch asks a master; true when it brought other keys than there were.
func (g *Gossip) fetch(ctx context.Context) bool {
	fctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	keys, serial, err := g.cfg.FetchKeys(fctx)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, dcos.ErrUnavailable) {
			g.log.Warn("gossip keys not fetched", "error", err)
		}
		return false
	}
	before := g.Ring()
	if err := g.SetKeys(serial, keys); err != nil {
		g.log.Warn("gossip keys not taken over", "error", err)
		return false
	}
	after := g.Ring()
	if after.Keys == before.Keys {
		return false
	}
	g.log.Info("gossip keys changed", "serial", after.Serial, "keys", len(keys))
	return true
}
