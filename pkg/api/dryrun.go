package api

import (
	"slices"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/placement"
)

// Foretell adds to the answer of a dry run what would become of apps.
func Foretell(out *client.DryRun, outcomes []placement.Outcome) {
	for i := range outcomes {
		o := &outcomes[i]
		out.Would = append(out.Would, o.Sentences()...)
		out.Apps = append(out.Apps, client.Outcome{
			App: string(o.App), Wanted: o.Wanted, Kept: o.Kept, Stopped: o.Stopped, Started: o.Started, Waiting: o.Waiting, Untried: o.Untried,
			Nodes: o.Nodes, Spots: spots(o.Spots), Zones: spots(o.Zones),
			Reasons: append([]string{}, o.Reasons...), Suggest: append([]string{}, o.Changes...),
		})
	}
	out.Would = slices.Compact(out.Would)
}

func spots(in []placement.Spot) []client.Spot {
	out := make([]client.Spot, len(in))
	for i, s := range in {
		out[i] = client.Spot{Node: string(s.Node), Hostname: s.Hostname, Region: s.Region, Zone: s.Zone, Tasks: s.Tasks}
	}
	return out
}
