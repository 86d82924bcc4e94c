package hosts

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func inventory(t *testing.T, h *Host) Inventory {
	t.Helper()
	inv, err := h.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func TestInventoryShowsEachThingThatIsLeft(t *testing.T) {
	t.Parallel()
	h := NewNet(t).Host(t, Options{Name: "h"})
	began := time.Now()
	clean := inventory(t, h)
	t.Logf("%d items in %v", len(clean), time.Since(began))
	if diff := Diff(clean, inventory(t, h)); len(diff) > 0 {
		t.Errorf("two looks at an idle host differ:\n%s", strings.Join(diff, "\n"))
	}

	for _, tt := range []struct{ name, plant, want, remove string }{
		{"file", "echo x > /opt/left", "+ file /opt/left", "rm /opt/left"},
		{"file on the disk of daemons", "mkdir /var/lib/left; touch /var/lib/left/f", "+ file /var/lib/left/f", "rm -r /var/lib/left"},
		{"changed file", "cp -p /etc/issue /root/issue; echo x >> /etc/issue", "+ file /etc/issue", "cat /root/issue > /etc/issue; rm /root/issue"},
		{"changed mode", "chmod 600 /etc/issue", "+ file /etc/issue", "chmod 644 /etc/issue"},
		{"deleted file", "mv /etc/debian_version /run/moved", "+ file /etc/debian_version deleted", "cp -p /run/moved /etc/debian_version; rm /run/moved"},
		{"file in memory", "touch /run/left", "+ file /run/left", "rm /run/left"},
		{"mount", "mkdir /mnt/left; mount -t tmpfs left /mnt/left", "+ mount /mnt/left", "umount /mnt/left; rmdir /mnt/left"},
		{
			"unit", "printf '[Service]\\nExecStart=/bin/true\\n' > /etc/systemd/system/left.service; systemctl daemon-reload",
			"+ unit file left.service", "rm /etc/systemd/system/left.service; systemctl daemon-reload",
		},
		{"user", "cp -p /etc/passwd /root/p; echo left:x:999:999::/:/bin/sh >> /etc/passwd", "+ user left", "cat /root/p > /etc/passwd; rm /root/p"},
		{"nft table", "nft add table inet left", "+ nft table inet left", "nft delete table inet left"},
		{"link", "ip link add left type veth peer name right", "+ link left", "ip link del left"},
		{"network namespace", "ip netns add left", "+ mount /run/netns/left", "ip netns del left; umount /run/netns; rmdir /run/netns"},
		{"cgroup", "mkdir /sys/fs/cgroup/memory/left", "+ cgroup memory/left", "rmdir /sys/fs/cgroup/memory/left"},
		{"process", "setsid sleep 100001 > /dev/null 2>&1 < /dev/null &", "+ process sleep: sleep 100001", "pkill -x sleep"},
		{"failed unit", "systemd-run --unit=bad false; sleep 0.2", "+ unit bad.service loaded failed", "systemctl reset-failed bad"},
		{"forwarding", "echo 1 > /proc/sys/net/ipv4/ip_forward", "~ sysctl net.ipv4.ip_forward 0 -> 1", "echo 0 > /proc/sys/net/ipv4/ip_forward"},
		{"listener", "systemd-run --unit=ear systemd-socket-activate -l 4242 cat; sleep 0.3", "+ listen tcp6 [::]:4242", "systemctl stop ear"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, h, "sh", "-ec", tt.plant)
			diff := Diff(clean, inventory(t, h))
			if !slices.ContainsFunc(diff, func(l string) bool { return strings.HasPrefix(l, tt.want) }) {
				t.Errorf("want a line that starts with %q in:\n%s", tt.want, strings.Join(diff, "\n"))
			}
			run(t, h, "sh", "-ec", tt.remove)
			err := poll(20*time.Second, func() error { return sameInventory(t, h, clean) })
			if err != nil {
				t.Errorf("after removal: %v", err)
			}
		})
	}
}

type differs []string

func (d differs) Error() string { return strings.Join(d, "\n") }

func sameInventory(t *testing.T, h *Host, want Inventory) error {
	t.Helper()
	if diff := Diff(want, inventory(t, h)); len(diff) > 0 {
		return differs(diff)
	}
	return nil
}

func TestHexAddressesAreRead(t *testing.T) {
	for in, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000000000000000000001000000:0016": "[::1]:22",
		"0100007F":                              "",
		"zz:0016":                               "",
		"0100:0016":                             "",
	} {
		if got, _ := hexAddr(in); got != want {
			t.Errorf("hexAddr(%q) = %q, want %q", in, got, want)
		}
	}
}
