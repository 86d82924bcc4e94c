package auth

import (
	"crypto/sha256"
	"time"
)

// tokenHash stands for a token where tokens are kept.
type tokenHash = [sha256.Size]byte

// verified remembers tokens whose signature is good, in two generations: when
// the young one is full it becomes the old one, and what was old is forgotten
// unless it was used meanwhile. So it holds at most max tokens.
type verified struct {
	max        int
	young, old map[tokenHash]bearer
}

func (v *verified) get(h tokenHash) (bearer, bool) {
	if b, ok := v.young[h]; ok {
		return b, true
	}
	b, ok := v.old[h]
	if ok {
		v.put(h, b)
	}
	return b, ok
}

func (v *verified) put(h tokenHash, b bearer) {
	if v.young == nil || len(v.young) >= max(v.max/2, 1) {
		v.old, v.young = v.young, map[tokenHash]bearer{}
	}
	v.young[h] = b
}

// Login links live for ten minutes, and there are at most 64 of them.
const (
	linkLife = 10 * time.Minute
	maxLinks = 64
)

// oneTimes are the login links that were given out and not used. They are kept
// in memory of one process on purpose: a link that survived a restart, or
// worked at every master, could be used twice. Only hashes are kept.
type oneTimes struct {
	links []oneTime // oldest first
}

type oneTime struct {
	hash tokenHash
	user string
	end  time.Time
}

func (o *oneTimes) put(h tokenHash, user string, now time.Time) {
	if len(o.links) >= maxLinks {
		o.links = o.links[1:]
	}
	o.links = append(o.links, oneTime{hash: h, user: user, end: now.Add(linkLife)})
}

// take uses a link up. Hashes of random tokens may be compared in any way.
func (o *oneTimes) take(h tokenHash, now time.Time) (user string, ok bool) {
	for i, l := range o.links {
		if l.hash == h {
			o.links = append(o.links[:i:i], o.links[i+1:]...)
			return l.user, now.Before(l.end)
		}
	}
	return "", false
}
