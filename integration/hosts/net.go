package hosts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/integration/hosts/cache"
)

const (
	bridgeName  = "br0"
	outsidePort = "outside"
	outsideHost = 254
	gatewayHost = 1
	firstHost   = 11
	lastHost    = 250
)

// Net is a switch with hosts on it, and one port for the test process. It
// reaches nothing else: hosts have no way to the outside.
type Net struct {
	claim  *claim
	root   Root
	state  string // directory of the hosts' disks
	trees  []hierarchy
	bridge netns.NsHandle // the switch's namespace: lives as long as this handle

	mu     sync.Mutex
	hosts  map[string]*Host // guarded by mu
	next   byte             // guarded by mu; last part of the next host's address
	faults faults           // guarded by mu
}

// NewNet makes a network with a subnet and names that nobody else has, and
// removes it, with its hosts, at the end of the test.
func NewNet(t testing.TB) *Net {
	t.Helper()
	n, err := OpenNet(t.Context())
	if err != nil {
		t.Fatalf("test network: %v", err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("remove the test network: %v", err)
		}
	})
	return n
}

// OpenNet is NewNet for a program that is no test; its caller calls Close.
func OpenNet(ctx context.Context) (*Net, error) {
	root, err := Base(ctx)
	if err != nil {
		return nil, err
	}
	if err := cache.Need(ctx, cache.Tool{Program: "nft", Package: "nftables"}); err != nil {
		return nil, err
	}
	dir, err := cache.Dir()
	if err != nil {
		return nil, err
	}
	trees, err := hierarchies()
	if err != nil {
		return nil, err
	}
	c, err := newClaim(filepath.Join(dir, "nets", "%d"))
	if err != nil {
		return nil, err
	}
	n := &Net{claim: c, root: root, state: c.dir(filepath.Join(dir, "nets", "%d")), trees: trees, bridge: netns.None(), hosts: map[string]*Host{}, next: firstHost}
	if err := n.up(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Net) up() error {
	if err := os.MkdirAll(n.state, 0o755); err != nil {
		return err
	}
	if err := makeCgroups(n.trees, n.claim.cgroup()); err != nil {
		return err
	}
	var err error
	if n.bridge, err = newNetns(); err != nil {
		return fmt.Errorf("network namespace of the switch: %w", err)
	}
	h, err := netlink.NewHandleAt(n.bridge)
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	defer h.Close()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
	if err := h.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add the switch: %w", err)
	}
	if err := setUp(h, "lo", nil); err != nil {
		return err
	}
	if err := setUp(h, bridgeName, n.addr(gatewayHost)); err != nil {
		return err
	}
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: n.claim.outside(), HardwareAddr: n.mac(outsideHost)},
		PeerName:  outsidePort, PeerNamespace: netlink.NsFd(n.bridge),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("link to the switch: %w", err)
	}
	if err := plug(h, outsidePort); err != nil {
		return err
	}
	here, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("link to the switch: %w", err)
	}
	defer here.Close()
	return setUp(here, n.claim.outside(), n.addr(outsideHost))
}

// Close removes the network with all its hosts. It may be called again.
func (n *Net) Close() error {
	n.mu.Lock()
	hosts := make([]*Host, 0, len(n.hosts))
	for _, h := range n.hosts {
		hosts = append(hosts, h)
	}
	n.mu.Unlock()
	if n.claim == nil {
		return nil
	}
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() { errs[i] = h.Destroy() })
	}
	wg.Wait()
	errs = append(errs, removeCgroups(n.trees, n.claim.cgroup()))
	if link, err := netlink.LinkByName(n.claim.outside()); err == nil {
		errs = append(errs, netlink.LinkDel(link))
	}
	if n.bridge.IsOpen() {
		errs = append(errs, n.bridge.Close())
	}
	errs = append(errs, removeAll(n.state))
	if err := errors.Join(errs...); err != nil {
		// The file stays, so that the next run's sweep tries again.
		return errors.Join(err, n.claim.file.Close())
	}
	err := n.claim.release()
	n.claim = nil
	return err
}

// OutsideIP is the test process's address on this network: what hosts dial to
// reach a registry, a mock or a proxy that the test runs.
func (n *Net) OutsideIP() string { return n.addr(outsideHost).IP.String() }

// Subnet is the network's address range.
func (n *Net) Subnet() string {
	a := n.addr(0)
	return a.IPNet.String()
}

func (n *Net) addr(last byte) *netlink.Addr {
	p := n.claim.prefix()
	return &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(p[0], p[1], p[2], last), Mask: net.CIDRMask(24, 32)}}
}

// mac is made from the address: with a random one, the neighbours' ARP tables
// would be wrong for 10 to 20 s after a host with the same address came back.
func (n *Net) mac(last byte) net.HardwareAddr {
	p := n.claim.prefix()
	return net.HardwareAddr{2, 0, p[0], p[1], p[2], last}
}

// newNetns makes a network namespace without a name. The thread goes back to
// its own, or is given up.
func newNetns() (netns.NsHandle, error) {
	runtime.LockOSThread()
	own, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return netns.None(), err
	}
	defer own.Close()
	made, err := netns.New()
	if back := netns.Set(own); back != nil {
		return netns.None(), back // the thread stays locked and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return made, err
}

// inNetns runs f on a thread inside ns. Programs that f starts are in ns too.
func inNetns(ns netns.NsHandle, f func() error) error {
	done := make(chan error)
	go func() { // ends when f does; its thread, which stays locked, ends with it
		runtime.LockOSThread()
		err := netns.Set(ns)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// setUp gives a link its address, when it has one, and switches it on.
func setUp(h *netlink.Handle, name string, addr *netlink.Addr) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if addr != nil {
		if err := h.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("link %s: address %s: %w", name, addr, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("link %s: up: %w", name, err)
	}
	return nil
}

// plug makes a link in the switch's namespace a port of it.
func plug(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("port %s: %w", name, err)
	}
	bridge, err := h.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("port %s: %w", name, err)
	}
	if err := h.LinkSetMaster(link, bridge); err != nil {
		return fmt.Errorf("port %s: %w", name, err)
	}
	return setUp(h, name, nil)
}

// unplug removes a port. The kernel removes the other end with it, at once.
func (n *Net) unplug(port string) error {
	h, err := netlink.NewHandleAt(n.bridge)
	if err != nil {
		return fmt.Errorf("port %s: %w", port, err)
	}
	defer h.Close()
	return poll(5*time.Second, func() error {
		link, err := h.LinkByName(port)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("port %s: %w", port, err)
		}
		if err := h.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("port %s: %w", port, err)
		}
		return nil
	})
}
