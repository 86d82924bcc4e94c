package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// one lets one change of the masters be made at a time on this master: each is
// several steps, of raft and of the rows that mirror it.
type one chan struct{}

func (o one) take(ctx context.Context) (release func(), err error) {
	select {
	case o <- struct{}{}:
		return func() { <-o }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: another change of the masters is under way: %w", dcos.ErrUnavailable, ctx.Err())
	}
}

// admitted takes a master that has just got its certificate into the group, as
// a learner; only the leader can.
func (m *master) admitted(ctx context.Context, id dcos.Identity, req auth.JoinRequest) error {
	number, ok := id.Master()
	if !ok {
		return m.readmit(ctx, id)
	}
	row := dcos.Master{ID: number, Name: nameOf(req.Hosts, id.ID), Peer: req.Peer, API: req.API, Level: req.Level, Version: req.Build}
	if m.Leads() {
		return m.addMaster(ctx, row, 0)
	}
	return m.askLeader(ctx, row)
}

// readmit lets the agent of a removed machine in again: it has shown a token.
// Others appear with their first session.
func (m *master) readmit(ctx context.Context, id dcos.Identity) error {
	n, _ := id.Node()
	if _, removed := m.raft.View().Removed(n); !removed {
		return nil
	}
	if !m.Leads() {
		return fmt.Errorf("%w: the machine was removed before, only the leading master can take it in again: join there (dcos master list shows which it is)", dcos.ErrUnavailable)
	}
	return m.propose(ctx, state.ReadmitNode{Node: n})
}

// nameOf is the host name among what a machine is called.
func nameOf(hosts []string, otherwise string) string {
	for _, h := range hosts {
		if net.ParseIP(h) == nil && h != "localhost" {
			return h
		}
	}
	return otherwise
}

// addMaster makes a master a learner. One that replaces another, whose data
// directory was wiped, takes it away in the same breath.
func (m *master) addMaster(ctx context.Context, row dcos.Master, replaces dcos.MasterID) error {
	release, err := m.changing.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if replaces != 0 {
		if old, ok := m.raft.View().Master(replaces); ok && old.Peer != row.Peer && m.alive(replaces) {
			return fmt.Errorf("%w: master %x is to be replaced, but lives at %s", dcos.ErrConflict, uint64(replaces), old.Peer)
		}
	}
	row.Voter, row.Incarnation, row.Start, row.Hold = false, 0, 0, false
	if have, ok := m.raft.View().Master(row.ID); ok {
		row = ownRow(have, row)
	}
	if err := m.propose(ctx, state.PutMaster{Master: row}); err != nil {
		return fmt.Errorf("add master %x: %w", uint64(row.ID), err)
	}
	if err := m.raft.AddLearner(ctx, row.ID); err != nil {
		return fmt.Errorf("add master %x to raft: %w", uint64(row.ID), err)
	}
	m.log.Info("master joins", "master", hex(row.ID), "peer", row.Peer, "replaces", hex(replaces))
	if replaces == 0 || replaces == row.ID {
		return nil
	}
	return m.takeAway(ctx, replaces)
}

func hex(id dcos.MasterID) string { return fmt.Sprintf("%016x", uint64(id)) }

// takeAway removes a member and its row, each if it is there.
func (m *master) takeAway(ctx context.Context, id dcos.MasterID) error {
	if isMember(m.raft.Stats(), id) {
		if err := m.raft.Remove(ctx, id); err != nil {
			return fmt.Errorf("remove master %s: %w", hex(id), err)
		}
	}
	if err := m.propose(ctx, state.RemoveMaster{ID: id}); err != nil && !errors.Is(err, dcos.ErrNotFound) {
		return fmt.Errorf("forget master %s: %w", hex(id), err)
	}
	m.log.Info("master removed", "master", hex(id))
	return nil
}

func isMember(s consensus.Stats, id dcos.MasterID) bool {
	return slices.Contains(s.Voters, id) || slices.Contains(s.Learners, id)
}

// findMaster reads the id of a master that the cluster knows.
func (m *master) findMaster(text string) (dcos.MasterID, error) {
	number, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is no master's id: `dcos master list` shows them", dcos.ErrInvalid, text)
	}
	id := dcos.MasterID(number)
	if _, row := m.raft.View().Master(id); !row && !isMember(m.raft.Stats(), id) {
		return 0, fmt.Errorf("%w: master %s: `dcos master list` shows them", dcos.ErrNotFound, text)
	}
	return id, nil
}

// removeMaster takes a master out of the group. One that lives is only taken
// out when it is meant to leave. A leader that is to leave hands over first, and
// the answer is dcos.NotLeader: the next leader is asked again.
func (m *master) removeMaster(ctx context.Context, text string, leave bool) error {
	release, err := m.changing.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	id, err := m.findMaster(text)
	if err != nil {
		return err
	}
	if !leave && m.alive(id) {
		return fmt.Errorf("%w: master %s is alive: take it out with `dcos master leave %s`, or stop it first (systemctl stop dcos on its machine)", dcos.ErrConflict, text, text)
	}
	return m.takeAway(ctx, id)
}

// setVote makes a learner a voter, or a voter a learner that stays one.
func (m *master) setVote(ctx context.Context, text string, vote bool) error {
	release, err := m.changing.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	id, err := m.findMaster(text)
	if err != nil {
		return err
	}
	row, ok := m.raft.View().Master(id)
	if !ok || !isMember(m.raft.Stats(), id) {
		return fmt.Errorf("%w: master %s is no member of raft", dcos.ErrNotFound, text)
	}
	// A leader that demotes itself hands over before anything is written.
	if !vote && id == m.files.id {
		return m.raft.Demote(ctx, id)
	}
	if row.Hold == vote {
		if err := m.propose(ctx, state.HoldMaster{ID: id, Hold: !vote}); err != nil {
			return fmt.Errorf("keep what was asked of master %s: %w", text, err)
		}
	}
	change := m.raft.Demote
	if vote {
		change = m.raft.Promote
	}
	if err := change(ctx, id); err != nil {
		if !vote { // or it would be promoted no more
			err = errors.Join(err, m.unhold(ctx, id))
		}
		return err
	}
	m.log.Info("master's vote changed by command", "master", text, "votes", vote)
	return m.mirror(ctx)
}

func (m *master) unhold(ctx context.Context, id dcos.MasterID) error {
	return m.propose(ctx, state.HoldMaster{ID: id})
}

// mirror writes at once who votes, so that a list after a change shows it.
func (m *master) mirror(ctx context.Context) error {
	return m.keepRow(ctx, m.raft.View(), m.raft.Stats().Voters)
}

// keepMembers lets learners that have caught up vote, forgets rows that have no
// member, and removes a master that has been dead for long when the policy says
// so. One change at a time, and none while one by command is under way.
func (m *master) keepMembers(ctx context.Context) error {
	release, err := m.changing.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	stats, v := m.raft.Stats(), m.raft.View()
	for _, id := range stats.Learners {
		if row, ok := v.Master(id); !ok || row.Hold {
			continue
		}
		err := m.raft.Promote(ctx, id)
		if errors.Is(err, dcos.ErrUnavailable) || errors.Is(err, dcos.ErrConflict) {
			continue // it has not caught up, or too few answer
		}
		if err != nil {
			return fmt.Errorf("let master %s vote: %w", hex(id), err)
		}
		m.log.Info("master votes", "master", hex(id))
	}
	for row := range v.Masters() {
		if !isMember(stats, row.ID) {
			if err := m.takeAway(ctx, row.ID); err != nil {
				return err
			}
		}
	}
	return m.removeDead(ctx, stats, time.Now())
}

// fewestVoters are what the policy leaves: with fewer, a removal would not let
// the cluster lose one master more than before.
const fewestVoters = 3

// removeDead removes one master that neither raft nor gossip has heard of for
// the configured time.
func (m *master) removeDead(ctx context.Context, stats consensus.Stats, now time.Time) error {
	id := deadMaster(stats.Status, m.dead, m.alive, now, time.Duration(m.c.DeadMasterMinutes)*time.Minute)
	if id == 0 {
		return nil
	}
	m.log.Warn("a master has not answered for long and is removed", "master", hex(id), "for", now.Sub(m.dead[id]).Round(time.Second))
	clear(m.dead) // the next one waits as long again
	return m.takeAway(ctx, id)
}

// deadMaster keeps in dead since when members do not answer, as this leader has
// seen it, and gives the one that has been dead longest once that is longer
// than the limit; 0 for none. It leaves alone what would bring the voters below
// fewestVoters, and everything while another voter does not answer: that is for
// a person to judge.
func deadMaster(s consensus.Status, dead map[dcos.MasterID]time.Time, alive func(dcos.MasterID) bool, now time.Time, limit time.Duration) dcos.MasterID {
	var longest dcos.MasterID
	for _, id := range slices.Concat(s.Voters, s.Learners) {
		if slices.Contains(s.Answer, id) || alive(id) {
			delete(dead, id)
			continue
		}
		if _, ok := dead[id]; !ok {
			dead[id] = now
		}
		if longest == 0 || dead[id].Before(dead[longest]) {
			longest = id
		}
	}
	if limit == 0 || longest == 0 || now.Sub(dead[longest]) < limit {
		return 0
	}
	left := 0
	for _, v := range s.Voters {
		switch {
		case v == longest:
		case slices.Contains(s.Answer, v):
			left++
		default:
			return 0
		}
	}
	if left < fewestVoters && slices.Contains(s.Voters, longest) {
		return 0
	}
	return longest
}
