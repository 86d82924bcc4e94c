package state

import "github.com/dcos-go/dcos/pkg/dcos"

// paced is one number of a Standing; irregular ones are numbers too.
type paced struct {
	app     dcos.AppID
	version dcos.Version // 0 for those that are counted for the app alone
	pace    pace
}

// pace notes an instance that is not history.
func (c *checker) pace(k *dcos.Task) {
	p := paced{k.App, k.Version, paceOf(k)}
	if p.pace <= paceLeaving {
		p.version = 0
	}
	c.paces[p]++
	if p.pace == paceIrregular {
		if got, ok := c.t.irregular.Get(k); !ok || got != k {
			c.fail("task %s: not in the index of irregular instances", k.ID)
		}
	}
}

// standings compares what is counted with what was noted.
func (c *checker) standings() {
	have := map[paced]int{}
	c.t.standing.Scan(func(id dcos.AppID, s *standing) bool {
		have[paced{id, 0, paceLeaving}] = s.Leaving
		for i := range s.Of {
			v := &s.Of[i]
			have[paced{id, v.Version, paceWaiting}] = v.Waiting
			have[paced{id, v.Version, paceComing}] = v.Coming
			have[paced{id, v.Version, paceRunning}] = v.Running
		}
		return true
	})
	irregular := 0
	for p, n := range c.paces {
		if p.pace == paceIrregular {
			irregular += n
			continue
		}
		c.expect(have[p] == n, "app %s version %s: %d instances of pace %d are counted, there are %d", p.app, p.version, have[p], p.pace, n)
		delete(have, p)
	}
	for p, n := range have {
		c.expect(n == 0, "app %s version %s: %d instances of pace %d are counted, there are none", p.app, p.version, n, p.pace)
	}
	c.expect(c.t.irregular.Len() == irregular, "%d irregular instances in the index, %d in the table", c.t.irregular.Len(), irregular)
	nodes := 0
	for n := range c.t.nodes.All() {
		_, listed := c.t.unsettled.Get(n.ID)
		c.expect(listed == unsettled(n), "node %s: %s, drained %v, listed as unsettled: %v", n.ID, n.State, n.Drain != nil, listed)
		if listed {
			nodes++
		}
	}
	c.expect(c.t.unsettled.Len() == nodes, "%d nodes are listed as unsettled, %d are", c.t.unsettled.Len(), nodes)
}
