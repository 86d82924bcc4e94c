package hosts

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/dcos-go/dcos/integration/hosts/cache"
)

// Mode says which cgroups a host sees.
type Mode int

const (
	// V1 is what the machine has: the v1 controllers, and v2 beside them
	// without controllers.
	V1 Mode = iota
	// V2 is cgroup v2 alone. On a machine that has v1 controllers there are
	// no cpu, memory and pids controllers in it.
	V2
)

// Options of a host. Only Name is needed.
type Options struct {
	Name        string
	Mode        Mode
	MemoryBytes int64 // limit of everything on the host; 0 = none
	BootLimit   time.Duration
}

// Host is one Linux machine. Its methods may be called at the same time, but
// power (Crash, PowerOff, Boot, Destroy) by one caller at a time.
type Host struct {
	net    *Net
	opt    Options
	last   byte   // last part of the address
	dir    string // what the host keeps: disk, mount point, console
	cgroup string

	mu     sync.Mutex
	bootID string        // guarded by mu; of the running or last boot
	pid1   int           // guarded by mu; in the machine's numbers, 0 = off
	dead   chan struct{} // guarded by mu; closed when PID 1 has been reaped
	conn   *sshConn      // guarded by mu
}

// Host boots a machine, waits until all its units are up, and removes it at
// the end of the test.
func (n *Net) Host(t testing.TB, opt Options) *Host {
	t.Helper()
	h, err := n.NewHost(t.Context(), opt)
	if err != nil {
		t.Fatalf("test host: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s's console and journal:\n%s", h.opt.Name, h.LastWords())
		}
		if err := h.Destroy(); err != nil {
			t.Errorf("remove the test host: %v", err)
		}
	})
	return h
}

// NewHost is Host for callers that start several at once. Close of the Net
// removes it.
func (n *Net) NewHost(ctx context.Context, opt Options) (*Host, error) {
	if opt.BootLimit == 0 {
		opt.BootLimit = 90 * time.Second
	}
	h, err := n.register(opt)
	if err != nil {
		return nil, err
	}
	if err := h.install(); err != nil {
		return nil, errors.Join(fmt.Errorf("host %s: %w", opt.Name, err), h.Destroy())
	}
	if err := h.Boot(ctx); err != nil {
		err = fmt.Errorf("%w\n%s", err, h.LastWords())
		return nil, errors.Join(err, h.Destroy())
	}
	return h, nil
}

func (n *Net) register(opt Options) (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if opt.Name == "" || filepath.Base(opt.Name) != opt.Name {
		return nil, fmt.Errorf("host name %q: want a plain name", opt.Name)
	}
	if n.hosts[opt.Name] != nil {
		return nil, fmt.Errorf("host %s: there is one with this name", opt.Name)
	}
	if n.next > lastHost {
		return nil, fmt.Errorf("host %s: the network is full", opt.Name)
	}
	h := &Host{
		net: n, opt: opt, last: n.next,
		dir:    filepath.Join(n.state, opt.Name),
		cgroup: filepath.Join(n.claim.cgroup(), opt.Name),
	}
	n.next++
	n.hosts[opt.Name] = h
	return h, nil
}

// install makes the disk, as the first installation of a machine does.
func (h *Host) install() error {
	for _, d := range []string{"m", "disk/upper/etc", "disk/work"} {
		if err := os.MkdirAll(filepath.Join(h.dir, d), 0o755); err != nil {
			return err
		}
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	hosts := fmt.Sprintf("127.0.0.1 localhost\n::1 localhost\n%s %s\n", h.IP(), h.opt.Name)
	for name, text := range map[string]string{
		"machine-id": hex.EncodeToString(id[:]) + "\n", "hostname": h.opt.Name + "\n", "hosts": hosts,
	} {
		if err := writeFile(filepath.Join(h.disk("upper"), "etc", name), text, 0o644); err != nil {
			return err
		}
	}
	return cache.Run(exec.Command("cp", "-a", filepath.Join(h.net.root.Dir, "var/lib"), h.disk("lib")))
}

func (h *Host) disk(part string) string { return filepath.Join(h.dir, "disk", part) }

// Name is the host's name, also inside.
func (h *Host) Name() string { return h.opt.Name }

// IP is the host's address; it stays over reboots.
func (h *Host) IP() string { return h.net.addr(h.last).IP.String() }

// BootID is what the host reads in /proc/sys/kernel/random/boot_id.
func (h *Host) BootID() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bootID
}

// KeyFile is the private ssh key that root of every host accepts.
func (h *Host) KeyFile() string { return h.net.root.KeyFile }

// KnownHost is the host's line for a known_hosts file.
func (h *Host) KnownHost() string { return h.IP() + " " + h.net.root.HostKey }

func (h *Host) port() string { return "h" + strconv.Itoa(int(h.last)) }

// Boot starts the machine on its disk and waits until systemd says that it is
// running. It is an error when it is on.
func (h *Host) Boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, h.opt.BootLimit)
	defer cancel()
	if err := h.start(); err != nil {
		return fmt.Errorf("boot %s: %w", h.opt.Name, err)
	}
	if err := h.ready(ctx); err != nil {
		return fmt.Errorf("boot %s: %w", h.opt.Name, err)
	}
	return nil
}

func (h *Host) start() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pid1 != 0 {
		return errors.New("the host is on")
	}
	if err := h.net.unplug(h.port()); err != nil {
		return err
	}
	if err := makeCgroups(h.net.trees, h.cgroup); err != nil {
		return err
	}
	if err := h.limitMemory(); err != nil {
		return err
	}
	id, err := newUUID()
	if err != nil {
		return err
	}
	h.bootID = id
	// The disk is the old one until the kernel has let go of the old mount.
	return poll(10*time.Second, h.launch)
}

// launch runs PID 1 up to the start of systemd. The caller holds mu.
func (h *Host) launch() error {
	p, err := startPID1(filepath.Join(h.dir, "console"))
	if err != nil {
		return err
	}
	fail := func(err error) error {
		p.kill()
		<-p.done
		return errors.Join(err, emptyCgroups(h.net.trees, h.cgroup, 10*time.Second))
	}
	if err := joinCgroups(h.net.trees, h.cgroup, p.pid); err != nil {
		return fail(err)
	}
	if err := h.wire(p.pid); err != nil {
		return fail(errors.Join(err, h.net.unplug(h.port())))
	}
	err = p.run(initConfig{
		Name: h.opt.Name, Lower: h.net.root.Dir, Disk: h.disk(""), Mount: filepath.Join(h.dir, "m"),
		V2: h.opt.Mode == V2, Trees: h.net.trees, BootID: h.bootID,
	})
	if err != nil {
		return fail(errors.Join(err, h.net.unplug(h.port())))
	}
	h.pid1, h.dead = p.pid, p.done
	return nil
}

// wire connects the namespace of pid to the switch.
func (h *Host) wire(pid int) error {
	inside, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer inside.Close()
	switchSide, err := netlink.NewHandleAt(h.net.bridge)
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	defer switchSide.Close()
	hostSide, err := netlink.NewHandleAt(inside)
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	defer hostSide.Close()
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: h.port()},
		PeerName:  "eth0", PeerHardwareAddr: h.net.mac(h.last), PeerNamespace: netlink.NsFd(inside),
	}
	if err := switchSide.LinkAdd(veth); err != nil {
		return fmt.Errorf("network cable: %w", err)
	}
	if err := plug(switchSide, h.port()); err != nil {
		return err
	}
	if err := setUp(hostSide, "lo", nil); err != nil {
		return err
	}
	if err := setUp(hostSide, "eth0", h.net.addr(h.last)); err != nil {
		return err
	}
	route := &netlink.Route{Gw: h.net.addr(gatewayHost).IP}
	if err := hostSide.RouteAdd(route); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return nil
}

func (h *Host) limitMemory() error {
	if h.opt.MemoryBytes == 0 {
		return nil
	}
	for _, t := range h.net.trees {
		file := "memory.max"
		if t.has("memory") {
			file = "memory.limit_in_bytes"
		}
		path := filepath.Join(t.Mount, h.cgroup, file)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := os.WriteFile(path, []byte(strconv.FormatInt(h.opt.MemoryBytes, 10)), 0o644); err != nil {
			return fmt.Errorf("memory limit: %w", err)
		}
		return nil
	}
	return errors.New("memory limit: the machine has no memory controller")
}

// ready waits for sshd, and then for the last unit.
func (h *Host) ready(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		conn, err := h.dial(short)
		cancel()
		if err == nil {
			h.mu.Lock()
			h.conn = conn
			h.mu.Unlock()
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for ssh: %w", err)
		case <-h.off():
			return errors.New("PID 1 ended")
		case <-tick.C:
		}
	}
	state, _, err := h.Run(ctx, "systemctl", "is-system-running", "--wait")
	if err != nil {
		failed, _, _ := h.Run(ctx, "systemctl", "list-units", "--failed", "--plain", "--no-legend")
		return fmt.Errorf("systemd is %q: %w; failed units:\n%s", state, err, failed)
	}
	return nil
}

func (h *Host) off() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead == nil {
		gone := make(chan struct{})
		close(gone)
		return gone
	}
	return h.dead
}

// PID1 is the host's first process in the machine's numbers, 0 when it is off.
func (h *Host) PID1() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pid1
}

// Crash kills every process of the host at once while its network is up: the
// kernel closes the connections, so that peers see EOF or RST.
func (h *Host) Crash() error { return h.stop(nil) }

// PowerOff is a power cut: the cable goes dead first, then the host. Peers
// see silence. The disk stays for the next Boot; /run, /tmp and /dev do not.
func (h *Host) PowerOff() error {
	return h.stop(func() error {
		s, err := netlink.NewHandleAt(h.net.bridge)
		if err != nil {
			return err
		}
		defer s.Close()
		link, err := s.LinkByName(h.port())
		if err != nil {
			return err
		}
		return s.LinkSetDown(link)
	})
}

// stop kills PID 1, with which the kernel kills all others, and waits until
// nothing of them is left.
func (h *Host) stop(first func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pid1 == 0 {
		return nil
	}
	if first != nil {
		if err := first(); err != nil {
			return fmt.Errorf("stop %s: %w", h.opt.Name, err)
		}
	}
	// h.dead is open, so this number is still the host's.
	if p, err := os.FindProcess(h.pid1); err == nil {
		_ = p.Kill()
	}
	select {
	case <-h.dead:
	case <-time.After(20 * time.Second):
		return fmt.Errorf("stop %s: PID 1 (%d) does not end", h.opt.Name, h.pid1)
	}
	h.pid1 = 0
	if h.conn != nil {
		h.conn.close()
		h.conn = nil
	}
	return emptyCgroups(h.net.trees, h.cgroup, 20*time.Second)
}

// Partition makes the host's port drop every frame, in and out. The host's
// link stays up: nobody can tell but by silence. It lasts over a reboot.
func (h *Host) Partition() error { return h.net.silence(h.port(), true) }

// Heal ends Partition.
func (h *Host) Heal() error { return h.net.silence(h.port(), false) }

// Destroy switches the host off and removes its disk and everything else of
// it. It may be called again.
func (h *Host) Destroy() error {
	err := errors.Join(
		h.stop(nil),
		removeCgroups(h.net.trees, h.cgroup),
		h.net.unplug(h.port()),
		removeAll(h.dir),
	)
	if err != nil {
		return fmt.Errorf("destroy %s: %w", h.opt.Name, err)
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.hosts[h.opt.Name] == h {
		delete(h.net.hosts, h.opt.Name)
	}
	return nil
}

func newUUID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}
