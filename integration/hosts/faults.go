package hosts

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/integration/hosts/cache"
)

// Port is a place on a Net: a *Host, or Net.Outside, the test process.
type Port interface{ port() string }

type namedPort string

func (p namedPort) port() string { return string(p) }

// Outside is the test process's port.
func (n *Net) Outside() Port { return namedPort(outsidePort) }

// faults is what the switch does wrong.
type faults struct {
	silent map[string]bool   // ports that nothing passes, in or out
	loss   map[[2]string]int // from, to: percent of packets dropped
}

// Cut drops everything that goes from one port to the other, and only in this
// direction. Nobody is told: frames vanish.
func (n *Net) Cut(from, to Port) error { return n.Loss(from, to, 100) }

// Loss drops this percentage of the frames that go from one port to the
// other. 0 ends it.
func (n *Net) Loss(from, to Port, percent int) error {
	if percent < 0 || percent > 100 {
		return fmt.Errorf("packet loss of %d percent: want 0 to 100", percent)
	}
	return n.change(func(f *faults) {
		key := [2]string{from.port(), to.port()}
		if percent == 0 {
			delete(f.loss, key)
			return
		}
		f.loss[key] = percent
	})
}

// HealAll ends every cut, loss and partition of the network.
func (n *Net) HealAll() error {
	return n.change(func(f *faults) { clear(f.silent); clear(f.loss) })
}

func (n *Net) silence(port string, on bool) error {
	return n.change(func(f *faults) {
		if on {
			f.silent[port] = true
		} else {
			delete(f.silent, port)
		}
	})
}

// change edits the faults and gives the switch the whole set in one
// transaction. After an error the switch is as it was.
func (n *Net) change(edit func(*faults)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := faults{silent: map[string]bool{}, loss: map[[2]string]int{}}
	maps.Copy(next.silent, n.faults.silent)
	maps.Copy(next.loss, n.faults.loss)
	edit(&next)
	err := inNetns(n.bridge, func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(next.ruleset())
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		return cache.Run(cmd)
	})
	if err != nil {
		return fmt.Errorf("faults of the test network: %w", err)
	}
	n.faults = next
	return nil
}

// ruleset drops frames as they come in and before they go out, so that it
// holds for the switch's own address too, and between ports.
func (f faults) ruleset() string {
	var b strings.Builder
	b.WriteString("table bridge faults\ndelete table bridge faults\ntable bridge faults {\n")
	b.WriteString("chain in { type filter hook prerouting priority 0\n")
	for _, p := range slices.Sorted(maps.Keys(f.silent)) {
		fmt.Fprintf(&b, "iifname %q drop\n", p)
	}
	b.WriteString("}\nchain out { type filter hook postrouting priority 0\n")
	for _, p := range slices.Sorted(maps.Keys(f.silent)) {
		fmt.Fprintf(&b, "oifname %q drop\n", p)
	}
	b.WriteString("}\nchain between { type filter hook forward priority 0\n")
	keys := slices.SortedFunc(maps.Keys(f.loss), func(a, b [2]string) int {
		return strings.Compare(a[0]+" "+a[1], b[0]+" "+b[1])
	})
	for _, k := range keys {
		some := ""
		if f.loss[k] < 100 { // nft refuses a comparison that always holds
			some = fmt.Sprintf("numgen random mod 100 < %d ", f.loss[k])
		}
		fmt.Fprintf(&b, "iifname %q oifname %q %sdrop\n", k[0], k[1], some)
	}
	b.WriteString("}\n}\n")
	return b.String()
}
