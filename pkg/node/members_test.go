package node

import (
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestOnlyAMasterThatWasReplacedIsRemovedAfterTheTime(t *testing.T) {
	t.Parallel()
	type list = []dcos.MasterID
	for _, tt := range []struct {
		name                     string
		voters, learners, answer list
		gossip                   dcos.MasterID // still sees it
		limit                    time.Duration
		want                     dcos.MasterID
	}{
		{"four vote, one is dead", list{1, 2, 3, 4}, nil, list{1, 2, 3}, 0, time.Minute, 4},
		{"the policy is off", list{1, 2, 3, 4}, nil, list{1, 2, 3}, 0, 0, 0},
		{"three vote, one is dead: two would be left", list{1, 2, 3}, nil, list{1, 2}, 0, time.Minute, 0},
		{"two of five are dead", list{1, 2, 3, 4, 5}, nil, list{1, 2, 3}, 0, time.Minute, 0},
		{"gossip still sees it", list{1, 2, 3, 4}, nil, list{1, 2, 3}, 4, time.Minute, 0},
		{"a dead learner counts for nothing", list{1}, list{2}, list{1}, 0, time.Minute, 2},
		{"all answer", list{1, 2, 3, 4}, nil, list{1, 2, 3, 4}, 0, time.Minute, 0},
		{"not for long enough", list{1, 2, 3, 4}, nil, list{1, 2, 3}, 0, time.Hour, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dead := map[dcos.MasterID]time.Time{}
			s := consensus.Status{Voters: tt.voters, Learners: tt.learners, Answer: tt.answer}
			alive := func(id dcos.MasterID) bool { return id == tt.gossip }
			at := time.Unix(1_800_000_000, 0)
			if got := deadMaster(s, dead, alive, at, tt.limit); got != 0 {
				t.Fatalf("%x is removed at first sight", uint64(got))
			}
			if got := deadMaster(s, dead, alive, at.Add(2*time.Minute), tt.limit); got != tt.want {
				t.Fatalf("%x is removed, want %x", uint64(got), uint64(tt.want))
			}
			// Seen once in between, its time begins anew.
			all := s
			all.Answer = append(list{}, append(tt.voters, tt.learners...)...)
			deadMaster(all, dead, alive, at.Add(3*time.Minute), tt.limit)
			if got := deadMaster(s, dead, alive, at.Add(4*time.Minute), tt.limit); got != 0 {
				t.Fatalf("%x is removed though it has just answered", uint64(got))
			}
		})
	}
}

func TestAStartIsLaterUnlessItIsThisOneOrAnOlderOne(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		row  dcos.Master
		want bool
	}{
		{dcos.Master{}, false},
		{dcos.Master{Incarnation: 4, Start: 9}, false},
		{dcos.Master{Incarnation: 5, Start: 7}, false}, // this one
		{dcos.Master{Incarnation: 5, Start: 8}, true},  // the copy counted to the same number
		{dcos.Master{Incarnation: 6, Start: 1}, true},
	} {
		if got := later(&tt.row, start{Incarnation: 5, Nonce: 7}); got != tt.want {
			t.Errorf("%+v: %v", tt.row, got)
		}
	}
}
