package placement

import (
	"cmp"
	"slices"
)

// ladders are the nodes of one class in one zone (kin), sorted by what is free
// of a kind of resource: for a single task, the best of them without an
// instance of its app is the first with room from the task's need upwards. A
// ladder is made when it is first asked for and then kept up.
type ladders struct {
	kins  []kin
	kinOf map[kinKey]int32
	at    []int32   // by slot: position in kins, -1 for none
	keyed []amounts // by slot: what the ladders sort it by
	moved []int32   // slots whose free amounts are not what they are sorted by
	flag  []bool    // by slot: in moved
	limit int       // more kins than that are not worth a look each; 0 is by the number of nodes
}

type kinKey struct{ class, zone int32 }

type kin struct {
	kinKey
	members map[int32]struct{} // slots, active or not
	rungs   [4][]int32         // by kind: active slots by free amount, then rank
	built   [4]bool
}

func newLadders() ladders { return ladders{kinOf: make(map[kinKey]int32)} }

func (l *ladders) grow() {
	l.at = append(l.at, -1)
	l.keyed = append(l.keyed, amounts{})
	l.flag = append(l.flag, false)
}

// forget drops all kins; every slot must be moved to its own again.
func (l *ladders) forget() {
	l.kins, l.kinOf = nil, make(map[kinKey]int32)
	for i := range l.at {
		l.at[i] = -1
	}
}

func (k *kin) drop() {
	k.built = [4]bool{}
	for i := range k.rungs {
		k.rungs[i] = k.rungs[i][:0]
	}
}

// dropLadders lets all be made anew when they are asked for.
func (x *Index) dropLadders() {
	for i := range x.kins {
		x.kins[i].drop()
	}
	for _, s := range x.moved {
		x.flag[s] = false
	}
	x.moved = x.moved[:0]
}

// moveTo notes of which kin a slot is. When it has come, gone or changed, the
// ladders that it concerns are made anew.
func (x *Index) moveTo(slot int32, key kinKey, changed bool) {
	at := x.at[slot]
	if at >= 0 && x.kins[at].kinKey == key {
		if changed {
			x.kins[at].drop()
		}
		return
	}
	x.leave(slot)
	at, ok := x.kinOf[key]
	if !ok {
		at = int32(len(x.kins))
		x.kins = append(x.kins, kin{kinKey: key, members: make(map[int32]struct{})})
		x.kinOf[key] = at
	}
	x.kins[at].members[slot] = struct{}{}
	x.kins[at].drop()
	x.at[slot] = at
}

func (x *Index) leave(slot int32) {
	if at := x.at[slot]; at >= 0 {
		delete(x.kins[at].members, slot)
		x.kins[at].drop()
		x.at[slot] = -1
	}
}

// setFree is the only way to change what is free on a node, ports aside.
func (x *Index) setFree(slot int32, free amounts) {
	if x.free[slot] == free {
		return
	}
	x.free[slot] = free
	if !x.flag[slot] {
		x.flag[slot] = true
		x.moved = append(x.moved, slot)
	}
}

// settle puts the slots that have moved into their places.
func (x *Index) settle() {
	if len(x.moved)*8 > len(x.nodes) {
		x.dropLadders()
		return
	}
	for _, slot := range x.moved {
		x.flag[slot] = false
		at := x.at[slot]
		if at < 0 || x.status[slot]&statusActive == 0 {
			continue
		}
		k := &x.kins[at]
		was := x.keyed[slot]
		for kind := range k.rungs {
			if k.built[kind] && was.at(kind) != x.free[slot].at(kind) {
				i, _ := x.find(k.rungs[kind], kind, was.at(kind), x.rank[slot])
				k.rungs[kind] = slices.Delete(k.rungs[kind], i, i+1)
			}
		}
		// All that still stand in the ladders stand by their keys.
		x.keyed[slot] = x.free[slot]
		for kind := range k.rungs {
			if k.built[kind] && was.at(kind) != x.free[slot].at(kind) {
				i, _ := x.find(k.rungs[kind], kind, x.free[slot].at(kind), x.rank[slot])
				k.rungs[kind] = slices.Insert(k.rungs[kind], i, slot)
			}
		}
	}
	x.moved = x.moved[:0]
}

// find is where an amount and a rank stand in a ladder.
func (x *Index) find(rungs []int32, kind int, amount int64, rank int32) (int, bool) {
	return slices.BinarySearchFunc(rungs, amount, func(slot int32, amount int64) int {
		if c := cmp.Compare(x.keyed[slot].at(kind), amount); c != 0 {
			return c
		}
		return cmp.Compare(x.rank[slot], rank)
	})
}

// ladder is a kin's active nodes by what is free of a kind. settle comes first.
func (x *Index) ladder(at int32, kind int) []int32 {
	k := &x.kins[at]
	if k.built[kind] {
		return k.rungs[kind]
	}
	rungs := k.rungs[kind][:0]
	for slot := range k.members {
		if x.status[slot]&statusActive != 0 {
			x.keyed[slot] = x.free[slot]
			rungs = append(rungs, slot)
		}
	}
	slices.SortFunc(rungs, func(a, b int32) int {
		if c := cmp.Compare(x.keyed[a].at(kind), x.keyed[b].at(kind)); c != 0 {
			return c
		}
		return cmp.Compare(x.rank[a], x.rank[b])
	})
	k.rungs[kind], k.built[kind] = rungs, true
	return rungs
}

// climbs says whether the ladders are worth while: not when there are nearly
// as many kins as nodes, and not for so many tasks that one pass over all
// nodes is cheaper.
func (s *search) climbs(n int) bool {
	limit := s.x.limit
	if limit == 0 {
		limit = len(s.x.order) / 8
	}
	return len(s.x.kins) <= limit && n*(4*len(s.x.kins)+len(s.hosts)+n) <= max(len(s.x.order)*2, limit)
}

// climb is the cheapest node for one task, as best is.
func (s *search) climb() (int32, bool) {
	x := s.x
	x.settle()
	best := item{slot: -1}
	offer := func(slot int32, cost int64) {
		if it := (item{cost, x.rank[slot], slot}); best.slot < 0 || it.before(best) {
			best = it
		}
	}
	for _, slot := range s.hosts {
		if s.hasRoom(slot) && s.fixedAllow(slot) && s.countAllow(slot) {
			offer(slot, s.cost(slot)+s.zoneCost(x.zone[slot]))
		}
	}
	for at := range x.kins {
		k := &x.kins[at]
		kind := int(s.dominant[k.class])
		rungs := x.ladder(int32(at), kind)
		if len(rungs) == 0 || !s.kinAllow(rungs[0]) {
			continue
		}
		zone := s.zoneCost(k.zone)
		found, last := false, int64(-1)
		var cost, least int64
		for i, _ := x.find(rungs, kind, s.need.at(kind), -1); i < len(rungs); i++ {
			slot := rungs[i]
			if free := x.free[slot].at(kind); free != last {
				last = free
				cost = zone + x.classes[k.class].leftover(kind, &x.free[slot], &s.need)
				if found && cost > least || best.slot >= 0 && cost > best.cost {
					break // so are all that follow
				}
			}
			if s.onHost[slot] > 0 || !s.hasRoom(slot) || !s.fixedAllow(slot) || !s.countAllow(slot) {
				continue
			}
			found, least = true, cost
			offer(slot, cost)
			// Those with as much free come later in order: pass them over.
			beyond, _ := x.find(rungs[i:], kind, last+1, -1)
			i += beyond - 1
		}
	}
	return best.slot, best.slot >= 0
}

// kinAllow says that no rule on what kin have in common refuses them all.
func (s *search) kinAllow(slot int32) bool {
	for i := range s.fixed {
		if f := &s.fixed[i]; ofKin(f.field) && !f.allowed[f.of[slot]+1] {
			return false
		}
	}
	for i, t := range s.tallies {
		if ofKin(t.rule.field) && !t.allows(s.columns[i][slot]) {
			return false
		}
	}
	return true
}

func ofKin(field string) bool { return field == "@zone" || field == "@region" }
