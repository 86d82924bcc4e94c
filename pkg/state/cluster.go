package state

import (
	"fmt"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func (x *txn) setCluster(info dcos.ClusterInfo) {
	var before any
	if x.t.cluster.ID != "" {
		old := x.t.cluster
		before = &old
	}
	x.t.cluster = info
	x.note(TableCluster, "", before, &info)
}

func (x *txn) initCluster(c InitCluster) error {
	info := c.Info
	switch {
	case x.t.cluster.ID != "":
		return fmt.Errorf("%w: the cluster exists already, its id is %s", dcos.ErrConflict, x.t.cluster.ID)
	case info.ID == "" || len(info.ID) > maxName || len(info.Name) > maxName:
		return fmt.Errorf("%w: a cluster needs an id, and id and name of at most %d bytes", dcos.ErrInvalid, maxName)
	}
	info.Level = max(info.Level, 1)
	if err := checkLevel(info.Level); err != nil {
		x.stop = err
		return err
	}
	info.CreatedAt = x.t.time
	x.setCluster(info)
	return nil
}

// raiseLevel stops a build that does not know the new level: a master that
// never said which level it supports can be taken by surprise.
func (x *txn) raiseLevel(c RaiseLevel) error {
	info := x.t.cluster
	switch {
	case info.ID == "":
		return fmt.Errorf("%w: there is no cluster yet", dcos.ErrConflict)
	case c.Level < info.Level:
		return fmt.Errorf("%w: the feature level is %d and never goes down", dcos.ErrConflict, info.Level)
	case c.Level == info.Level:
		return nil
	}
	for m := range x.t.masters.All() {
		if m.Level < c.Level {
			return fmt.Errorf("%w: master %s supports feature level %d, not %d: upgrade it first", dcos.ErrConflict, m.Name, m.Level, c.Level)
		}
	}
	if err := checkLevel(c.Level); err != nil {
		x.stop = err
		return err
	}
	info.Level = c.Level
	x.setCluster(info)
	x.raiseFloor(x.t.time) // of apps removed before, none was noted
	return nil
}

func (x *txn) putMaster(c PutMaster) error {
	m := c.Master
	switch {
	case m.ID == 0:
		return fmt.Errorf("%w: a master's id is not 0", dcos.ErrInvalid)
	case len(m.Name) > maxName || len(m.Peer) > maxName || len(m.API) > maxName || len(m.Version) > maxName:
		return fmt.Errorf("%w: name, addresses and version of master %s have at most %d bytes each", dcos.ErrInvalid, masterKey(m.ID), maxName)
	}
	if have := x.t.level(); have > 1 && m.Level < have { // the first release took any master
		return fmt.Errorf("%w: master %s supports feature level %d, the cluster is at %d: install the version that the other masters run",
			dcos.ErrConflict, m.Name, m.Level, have)
	}
	m.Joined, m.Incarnation, m.Start, m.Hold = x.t.time, 0, 0, false
	if old, ok := x.t.masters.Get(masterKey(m.ID)); ok {
		m.Joined, m.Incarnation, m.Start, m.Hold = old.Joined, old.Incarnation, old.Start, old.Hold
	}
	put(x, TableMasters, &x.t.masters, masterKey(m.ID), &m)
	return nil
}

func (x *txn) startMaster(c StartMaster) error {
	old, ok := x.t.masters.Get(masterKey(c.ID))
	switch {
	case !ok:
		return fmt.Errorf("%w: master %s", dcos.ErrNotFound, masterKey(c.ID))
	case c.Incarnation == 0:
		return fmt.Errorf("%w: starts of a master are counted from 1", dcos.ErrInvalid)
	case old.Incarnation == c.Incarnation && old.Start == c.Start:
		return nil
	case old.Incarnation >= c.Incarnation:
		return fmt.Errorf("%w: start %d of master %s is known, this is start %d", dcos.ErrConflict, old.Incarnation, masterKey(c.ID), c.Incarnation)
	}
	m := *old
	m.Incarnation, m.Start = c.Incarnation, c.Start
	put(x, TableMasters, &x.t.masters, masterKey(m.ID), &m)
	return nil
}

func (x *txn) holdMaster(c HoldMaster) error {
	old, ok := x.t.masters.Get(masterKey(c.ID))
	if !ok {
		return fmt.Errorf("%w: master %s", dcos.ErrNotFound, masterKey(c.ID))
	}
	if old.Hold == c.Hold {
		return nil
	}
	m := *old
	m.Hold = c.Hold
	put(x, TableMasters, &x.t.masters, masterKey(m.ID), &m)
	return nil
}

// The limits of a row with gossip keys.
const (
	maxSealed     = 4096
	maxGossipKeys = 8
)

func (x *txn) putGossip(c PutGossip) error {
	info, ring := x.t.cluster, c.Ring
	var serial uint64
	if info.Gossip != nil {
		serial = info.Gossip.Serial
	}
	switch {
	case info.ID == "":
		return fmt.Errorf("%w: there is no cluster yet", dcos.ErrConflict)
	case ring.Serial != serial+1:
		return fmt.Errorf("%w: the gossip keys have changed meanwhile: number %d is next, got %d", dcos.ErrConflict, serial+1, ring.Serial)
	case ring.Step > dcos.GossipUse:
		return fmt.Errorf("%w: step %d of a change of the gossip key is not known", dcos.ErrInvalid, ring.Step)
	case len(ring.Sealed) == 0 || len(ring.Sealed) > maxSealed || len(ring.Keys) == 0 || len(ring.Keys) > maxGossipKeys:
		return fmt.Errorf("%w: %d gossip keys in %d bytes, at most %d in %d", dcos.ErrInvalid, len(ring.Keys), len(ring.Sealed), maxGossipKeys, maxSealed)
	}
	for _, k := range ring.Keys {
		if k == "" || len(k) > maxName {
			return fmt.Errorf("%w: fingerprint of a gossip key of %d bytes", dcos.ErrInvalid, len(k))
		}
	}
	ring.At = x.t.time
	info.Gossip = &ring
	x.setCluster(info)
	return nil
}
