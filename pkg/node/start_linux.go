package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// startRoute is where a master asks the others, after each start, whether they
// know of a later one: then its data directory is an old copy, and its vote
// must not count. See docs/design/014-consensus.md.
const startRoute = "/dcos/v1/internal/masters/start"

// start is one start of a master.
type start struct {
	ID          dcos.MasterID
	Incarnation uint64 // raised by each start
	Nonce       uint64 // tells this start from another of the same number
}

// opinion is what a master says about another one's start.
type opinion struct {
	Word   string
	Leader dcos.MasterID // as it knows
}

// The words. Nobody knows better: a master that does not lead says it.
const (
	wordKnown   = "known" // by the leader, durably
	wordNothing = "nothing later is known"
	wordLater   = "a later start is known"
	wordRemoved = "not a member"
)

// How often a master asks: until it is known, and later while it hears no
// leader, for it may have been removed.
const (
	askRound  = 100 * time.Millisecond
	askAgain  = 2 * time.Second
	askWait   = 2 * time.Second
	askStrike = 5 // rounds in which all who answer refuse the connection
)

// judge says what this master knows of another one's start. Only the leader
// knows for sure who is a member, and makes the start known.
func (m *master) judge(ctx context.Context, s start) opinion {
	lead, _ := m.raft.Leadership()
	out := opinion{Word: wordNothing, Leader: lead.Leader}
	v := m.raft.View()
	row, ok := v.Master(s.ID)
	if ok && later(row, s) {
		out.Word = wordLater
		return out
	}
	if !m.Leads() {
		return out
	}
	info, _ := v.Cluster()
	switch {
	case !ok && !isMember(m.raft.Stats(), s.ID):
		out.Word = wordRemoved
	case !ok:
	case info.Level < 2: // nobody keeps starts yet
		out.Word = wordKnown
	default:
		err := m.propose(ctx, state.StartMaster{ID: s.ID, Incarnation: s.Incarnation, Start: s.Nonce})
		switch {
		case err == nil:
			out.Word = wordKnown
		case errors.Is(err, dcos.ErrConflict):
			out.Word = wordLater
		}
	}
	return out
}

// later says that a row knows of another start than this one that is not older.
func later(row *dcos.Master, s start) bool {
	return row.Incarnation > s.Incarnation || row.Incarnation == s.Incarnation && row.Start != s.Nonce
}

func (m *master) ownStart() start {
	n, nonce := m.raft.Start()
	return start{ID: m.files.id, Incarnation: n, Nonce: nonce}
}

// keepStart makes the leader's own start known.
func (m *master) keepStart(ctx context.Context) error {
	v, s := m.raft.View(), m.ownStart()
	info, _ := v.Cluster()
	row, ok := v.Master(s.ID)
	if !ok || info.Level < 2 || row.Incarnation == s.Incarnation && row.Start == s.Nonce {
		return nil
	}
	return m.propose(ctx, state.StartMaster{ID: s.ID, Incarnation: s.Incarnation, Start: s.Nonce})
}

// proveStart asks until this start is known, or nobody who could know better is
// there. It fails when this master must not go on.
func (m *master) proveStart(ctx context.Context) error {
	proven, strikes, wait := false, 0, time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = askRound
		s := m.ownStart()
		if row, ok := m.raft.View().Master(s.ID); ok {
			if later(row, s) {
				return m.rolledBack(row.Incarnation)
			}
			if row.Incarnation == s.Incarnation && !proven {
				proven = true
				m.raft.Prove()
			}
		}
		stats := m.raft.Stats()
		if proven || stats.Leader == m.files.id {
			wait = askAgain
			if stats.Leader != 0 {
				strikes = 0
				continue
			}
		}
		got := m.askAll(ctx, s)
		switch {
		case got.later:
			return m.rolledBack(0)
		case got.removed:
			return consensus.ErrRemoved
		case got.known && !proven:
			// Below feature level 2 no row will ever say so.
			proven = true
			m.raft.Prove()
		case got.older && !proven:
			// As before there were starts; asked again, as another may lead.
			m.raft.Prove()
			wait = askAgain
		case !proven && got.leader == 0 && got.nothing+1 > len(stats.Voters)/2:
			m.raft.Prove() // nobody leads; go on asking once somebody does
		}
		if strikes++; got.denied == 0 || got.answered > 0 {
			strikes = 0
		}
		if strikes >= askStrike && stats.Leader == 0 {
			return fmt.Errorf("%w (the others refuse its connections)", consensus.ErrRemoved)
		}
	}
}

func (m *master) rolledBack(known uint64) error {
	n, _ := m.raft.Start()
	if known != 0 {
		return fmt.Errorf("%w: %s is at start %d, start %d is known; %s", consensus.ErrRolledBack, m.files.dir, n, known, consensus.Repair)
	}
	return fmt.Errorf("%w: %s is at start %d; %s", consensus.ErrRolledBack, m.files.dir, n, consensus.Repair)
}

// opinions are the answers of one round.
type opinions struct {
	known, later, removed bool
	older                 bool // the leader is of a build that cannot say
	nothing               int
	answered, denied      int
	leader                dcos.MasterID
}

// askAll asks all other masters at once.
func (m *master) askAll(ctx context.Context, s start) opinions {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	var mu sync.Mutex
	var out opinions
	var all sync.WaitGroup
	lead := m.raft.Stats().Leader
	for _, id := range m.otherMasters() {
		all.Go(func() { // ends with ctx at the latest
			var o opinion
			err := tell(ctx, m.masterPeer(id), startRoute, s, &o)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				switch {
				case errors.Is(err, dcos.ErrDenied):
					out.denied++
				case errors.Is(err, dcos.ErrNotFound): // a build that knows of no starts
					out.older = out.older || id == lead
				}
				return
			}
			out.answered++
			if o.Leader != s.ID {
				out.leader = max(out.leader, o.Leader)
			}
			out.known = out.known || o.Word == wordKnown
			out.later = out.later || o.Word == wordLater
			out.removed = out.removed || o.Word == wordRemoved
			if o.Word == wordNothing {
				out.nothing++
			}
		})
	}
	all.Wait()
	return out
}

// otherMasters are those that this one knows of, from its own state or from
// the answer to its join.
func (m *master) otherMasters() []dcos.MasterID {
	var out []dcos.MasterID
	for row := range m.raft.View().Masters() {
		if row.ID != m.files.id {
			out = append(out, row.ID)
		}
	}
	if len(out) > 0 || m.files.joined == nil {
		return out
	}
	for _, row := range m.files.joined.Masters {
		if row.ID != m.files.id {
			out = append(out, row.ID)
		}
	}
	return out
}
