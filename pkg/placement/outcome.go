package placement

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Outcome is what one app would become by a write that is only tried out, with
// agents that do at once what they are told.
type Outcome struct {
	App     dcos.AppID
	Wanted  int
	Kept    int // tasks that go on
	Stopped int // tasks that end
	Started int // tasks that find a place
	Waiting int // instances that find none
	Untried int // instances that were left out because there are too many

	Nodes int    // how many get new tasks
	Spots []Spot // the first of those, most tasks first
	Zones []Spot // new tasks by zone; Node and Hostname are empty
	// Reasons say what keeps the app from being what it would have to be, and
	// Changes what would help, the smallest first.
	Reasons []string
	Changes []string
}

// Spot is how many new tasks a node or a zone gets.
type Spot struct {
	Node         dcos.NodeID
	Hostname     string
	Region, Zone string
	Tasks        int
}

// namedSpots is how many nodes a sentence names.
const namedSpots = 5

// Sentences are the outcome for people.
func (o *Outcome) Sentences() []string {
	var out []string
	if o.Started > 0 {
		names := make([]string, 0, namedSpots)
		for _, s := range o.Spots[:min(len(o.Spots), namedSpots)] {
			names = append(names, fmt.Sprintf("%s (%d)", cmp.Or(s.Hostname, string(s.Node)), s.Tasks))
		}
		text := fmt.Sprintf("%s: %d new tasks find a place right now, on %d nodes: %s", o.App, o.Started, o.Nodes, strings.Join(names, ", "))
		if more := o.Nodes - len(names); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		out = append(out, text)
	}
	if o.Kept > 0 || o.Stopped > 0 {
		out = append(out, fmt.Sprintf("%s: %d tasks go on, %d end", o.App, o.Kept, o.Stopped))
	}
	if o.Waiting > 0 {
		out = append(out, fmt.Sprintf("%s: %d of %d instances find no place right now", o.App, o.Waiting, o.Wanted))
	}
	out = append(out, o.Reasons...)
	for _, c := range o.Changes[:min(len(o.Changes), 1)] {
		out = append(out, "smallest change that lets it run: "+c)
	}
	if o.Untried > 0 {
		out = append(out, fmt.Sprintf("%s: %d more instances were not tried", o.App, o.Untried))
	}
	return out
}
