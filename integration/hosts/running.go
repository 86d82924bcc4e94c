package hosts

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// This file is the part of Inventory that looks at what runs.

func (h *Host) addMounts(inv Inventory) error {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", h.PID1()))
	if err != nil {
		return err
	}
	count := map[string]int{}
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 6 || len(right) < 2 || own(left[4]) {
			continue
		}
		key := "mount " + left[4]
		count[key]++
		if count[key] > 1 {
			key += fmt.Sprintf(" (%d)", count[key])
		}
		inv[key] = right[0] + " " + right[1]
	}
	return nil
}

func (h *Host) addAccounts(inv Inventory) error {
	for kind, file := range map[string]string{"user": "/etc/passwd", "group": "/etc/group"} {
		data, err := h.ReadFile(file)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(data)) {
			name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
			inv[kind+" "+name] = rest
		}
	}
	return nil
}

func (h *Host) addNetwork(inv Inventory) error {
	inside, err := netns.GetFromPid(h.PID1())
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := addLinks(inv, inside); err != nil {
		return err
	}
	err = inNetns(inside, func() error {
		rules, err := exec.Command("nft", "-s", "list", "ruleset").Output()
		if err != nil {
			return fmt.Errorf("nft: %w", err)
		}
		addRuleset(inv, string(rules))
		forward, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		if err == nil {
			inv["sysctl net.ipv4.ip_forward"] = strings.TrimSpace(string(forward))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, proto := range []string{"tcp", "tcp6", "udp", "udp6"} {
		if err := h.addListeners(inv, proto); err != nil {
			return err
		}
	}
	return nil
}

func addLinks(inv Inventory, ns netns.NsHandle) error {
	nl, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer nl.Close()
	links, err := nl.LinkList()
	if err != nil {
		return fmt.Errorf("links: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		addrs, err := nl.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return fmt.Errorf("addresses of %s: %w", a.Name, err)
		}
		var text []string
		for _, addr := range addrs {
			text = append(text, addr.IPNet.String())
		}
		inv["link "+a.Name] = fmt.Sprintf("%s mtu %d %s", l.Type(), a.MTU, strings.Join(text, " "))
	}
	routes, err := nl.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	for _, r := range routes {
		inv[fmt.Sprintf("route %s via %s", r.Dst, r.Gw)] = fmt.Sprintf("table %d", r.Table)
	}
	return nil
}

// addRuleset adds one key for a table, with the table's text as the value.
func addRuleset(inv Inventory, text string) {
	for part := range strings.SplitSeq(text, "\ntable ") {
		part = strings.TrimSpace(strings.TrimPrefix(part, "table "))
		if name, body, ok := strings.Cut(part, "{"); ok {
			inv["nft table "+strings.TrimSpace(name)] = strings.Join(strings.Fields(body), " ")
		}
	}
}

func (h *Host) addListeners(inv Inventory, proto string) error {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", h.PID1(), proto))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	want := "0A" // TCP_LISTEN
	if strings.HasPrefix(proto, "udp") {
		want = "07" // bound, no peer
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != want {
			continue
		}
		if addr, ok := hexAddr(f[1]); ok {
			inv["listen "+proto+" "+addr] = "uid " + f[7]
		}
	}
	return nil
}

// hexAddr reads an address of /proc/net/tcp: words in the byte order of the
// machine, then the port.
func hexAddr(s string) (string, bool) {
	host, port, ok := strings.Cut(s, ":")
	ip, err := hex.DecodeString(host)
	number, errPort := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || errPort != nil || len(ip)%4 != 0 {
		return "", false
	}
	for w := range slices.Chunk(ip, 4) {
		slices.Reverse(w)
	}
	return net.JoinHostPort(net.IP(ip).String(), strconv.FormatUint(number, 10)), true
}

func (h *Host) addProcesses(inv Inventory) error {
	all, err := h.Processes()
	if err != nil {
		return err
	}
	count := map[string]int{}
	spaces := map[string]bool{}
	for _, p := range all {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.Machine)); err == nil {
			spaces[ns] = true
		}
		words := strings.Join(p.Args, " ")
		// Sessions of ssh are the test's own.
		if strings.HasPrefix(words, "sshd: ") && !strings.Contains(words, "listener") || p.Name == "(sd-pam)" {
			continue
		}
		count[p.Name+": "+words]++
	}
	for text, n := range count {
		inv["process "+text] = strconv.Itoa(n)
	}
	// Numbers of namespaces tell nothing; how many there are does.
	inv["netns in use"] = strconv.Itoa(len(spaces))
	return nil
}

func (h *Host) addCgroups(inv Inventory) error {
	for _, t := range h.net.trees {
		root := filepath.Join(t.Mount, h.cgroup)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return ignoreGone(err)
			}
			rel := strings.TrimPrefix(path, root)
			if !d.IsDir() || rel == "" || strings.HasSuffix(rel, "/ssh.service") {
				return nil
			}
			inv["cgroup "+filepath.Base(t.Mount)+rel] = ""
			return nil
		})
		if err != nil {
			return fmt.Errorf("cgroups: %w", err)
		}
	}
	return nil
}

func (h *Host) addUnits(ctx context.Context, inv Inventory) error {
	out, _, err := h.Run(ctx, "systemctl", "list-units", "--all", "--plain", "--no-legend", "--full",
		"--type=service,socket,timer,path,target,slice,scope,mount,automount")
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 4 || f[1] == "not-found" {
			continue
		}
		// A unit that ran and ended is unloaded some time later.
		if f[2] == "inactive" && f[1] == "loaded" || strings.HasSuffix(f[0], ".mount") {
			continue
		}
		inv["unit "+f[0]] = f[1] + " " + f[2]
	}
	out, _, err = h.Run(ctx, "systemctl", "list-unit-files", "--plain", "--no-legend", "--full")
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 {
			inv["unit file "+f[0]] = f[1]
		}
	}
	return nil
}
