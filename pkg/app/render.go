package app

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Render is the definition as Marathon writes it, with every default. Parse of
// its JSON gives the same app.
func Render(a *dcos.App) client.App {
	out := client.App{
		ID: string(a.ID), Cmd: a.Cmd, Args: a.Args, User: a.User, Env: a.Env,
		Instances: int(a.Instances), CPUs: a.Need.CPUs.Float(), Mem: a.Need.Mem.Float(), Disk: a.Need.Disk.Float(), GPUs: a.Need.GPUs,
		AcceptedResourceRoles: a.Roles, Role: "*",
		Labels: a.Labels, Networks: []client.Network{{Mode: "host"}},
		PortDefinitions: make([]client.PortDefinition, 0, len(a.Ports)), RequirePorts: a.RequirePorts,
		BackoffSeconds: seconds(a.Backoff.InitialMillis), BackoffFactor: float64(a.Backoff.FactorMilli) / 1000,
		MaxLaunchDelaySeconds: seconds(a.Backoff.MaxMillis),
		UpgradeStrategy:       client.UpgradeStrategy{MinimumHealthCapacity: a.Upgrade.MinHealth, MaximumOverCapacity: a.Upgrade.MaxOver},
		UnreachableStrategy:   renderUnreachable(a.Unreachable),
		KillSelection:         "YOUNGEST_FIRST",
		Version:               a.Version.String(),
	}
	if a.KillSelection == dcos.OldestFirst {
		out.KillSelection = "OLDEST_FIRST"
	}
	if a.Fence == dcos.FenceLease {
		out.Fence = "lease"
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	out.Fetch = renderFetch(a.Fetch)
	for _, c := range a.Constraints {
		one := []string{c.Field, string(c.Operator)}
		if c.Value != "" {
			one = append(one, c.Value)
		}
		out.Constraints = append(out.Constraints, one)
	}
	for _, p := range a.Ports {
		out.PortDefinitions = append(out.PortDefinitions,
			client.PortDefinition{Port: int(p.Port), Protocol: p.Protocol, Name: p.Name, Labels: p.Labels})
	}
	if a.KillGraceMillis != nil {
		s := seconds(*a.KillGraceMillis)
		out.KillGraceSeconds = &s
	}
	if a.Container != nil {
		out.Container = renderContainer(a.Container)
	}
	if a.LastConfigChange != 0 {
		out.VersionInfo = &client.VersionInfo{LastScalingAt: a.LastScaling.String(), LastConfigChangeAt: a.LastConfigChange.String()}
	}
	return out
}

func seconds(millis int64) float64 { return (time.Duration(millis) * time.Millisecond).Seconds() }

func renderContainer(c *dcos.Container) *client.AppContainer {
	out := &client.AppContainer{Type: c.Type, Volumes: []struct{}{}}
	if c.Image != "" {
		out.Docker = &client.DockerContainer{Image: c.Image, ForcePullImage: c.ForcePull, Parameters: []struct{}{}}
	}
	return out
}

func renderUnreachable(u dcos.Unreachable) json.RawMessage {
	if u.Disabled {
		return json.RawMessage(`"disabled"`)
	}
	return json.RawMessage(fmt.Sprintf(`{"inactiveAfterSeconds":%d,"expungeAfterSeconds":%d}`, u.InactiveSeconds, u.ExpungeSeconds))
}

// knownFields are all names that an app definition may hold, sorted.
func knownFields() []string {
	all := slices.Collect(maps.Keys(handlers))
	all = slices.AppendSeq(all, maps.Keys(later))
	slices.Sort(all)
	return all
}

// nearest is the known name that a mistyped one most likely stands for: at
// most two letters off, "" for none.
func nearest(name string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(name, k, least); d < least {
			best, least = k, d
		}
	}
	return best
}

// maxNameForHint keeps the distance of hostile names cheap.
const maxNameForHint = 64

// distance is how many letters must be changed, added or dropped to make one
// name of the other, or limit when it is at least that.
func distance(a, b string, limit int) int {
	if len(a) > maxNameForHint || max(len(a)-len(b), len(b)-len(a)) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if lower(a[i]) != lower(b[j]) {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], limit)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
