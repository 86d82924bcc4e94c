package state

import (
	"errors"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestGossipKeysChangeOneStepAfterTheOther(t *testing.T) {
	t.Parallel()
	x := &txn{t: newTables(), removed: map[dcos.AppID]bool{}}
	x.t.time = epoch0
	ring := func(serial uint64, step dcos.GossipStep) PutGossip {
		return PutGossip{Ring: dcos.GossipRing{Serial: serial, Step: step, Sealed: []byte("sealed"), Keys: []string{"a", "b"}}}
	}
	if err := x.putGossip(ring(1, dcos.GossipSpread)); !errors.Is(err, dcos.ErrConflict) {
		t.Errorf("without a cluster: %v", err)
	}
	if err := x.initCluster(InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: Level}}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cmd  PutGossip
		want error
	}{
		{"not the next", ring(2, dcos.GossipSpread), dcos.ErrConflict},
		{"the first", ring(1, dcos.GossipSpread), nil},
		{"of a leader that was slower", ring(1, dcos.GossipUse), dcos.ErrConflict},
		{"the second", ring(2, dcos.GossipUse), nil},
		{"unknown step", ring(3, 9), dcos.ErrInvalid},
		{"no keys", PutGossip{Ring: dcos.GossipRing{Serial: 3}}, dcos.ErrInvalid},
		{"too large", PutGossip{Ring: dcos.GossipRing{Serial: 3, Keys: []string{"a"}, Sealed: make([]byte, maxSealed+1)}}, dcos.ErrInvalid},
		{"the last", ring(3, dcos.GossipSettled), nil},
	} {
		before := x.t.sum
		if err := x.putGossip(tt.cmd); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if tt.want != nil && x.t.sum != before {
			t.Errorf("%s: the state changed", tt.name)
		}
	}
	if g := x.t.cluster.Gossip; g.Serial != 3 || g.At != epoch0 {
		t.Errorf("row: %+v", g)
	}
}
