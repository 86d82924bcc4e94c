package node

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/resource"
)

// defaultPorts are the host ports that an agent offers: Mesos' default range.
var defaultPorts = resource.NewRanges(resource.Range{First: 31000, Last: 32000})

// capacity is what the agent offers: what the machine has less what is kept
// for the host, or what the configuration says.
func capacity(c config.Config) (resource.Set, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return resource.Set{}, fmt.Errorf("ask for memory: %w", err)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(c.DataDir, &disk); err != nil {
		return resource.Set{}, fmt.Errorf("ask for the size of %s: %w", c.DataDir, err)
	}
	const mib = 1 << 20
	memory := int64(info.Totalram)*int64(info.Unit)/mib - int64(c.ReserveMemMB)
	if limit, ok := cgroupMemory(); ok {
		memory = min(memory, limit/mib-int64(c.ReserveMemMB))
	}
	cpus, err := resource.FromFloat(max(0, float64(runtime.NumCPU())-c.ReserveCPUs))
	if err != nil {
		return resource.Set{}, fmt.Errorf("cpus: %w", err)
	}
	s := resource.Set{
		CPUs: cpus, Mem: resource.Whole(max(memory, 0)),
		Disk:  resource.Whole(int64(disk.Bavail) * disk.Bsize / mib * 9 / 10),
		Ports: defaultPorts,
	}
	return override(s, c.Resources)
}

// cgroupMemory is the memory limit of the cgroup that a version 1 machine or
// container gives this process.
func cgroupMemory() (int64, bool) {
	for _, name := range []string{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"} {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		return n, err == nil && n > 0 && n < 1<<60
	}
	return 0, false
}

// override replaces kinds of resources that the configuration names, as in
// "cpus:4;mem:8192;ports:[31000-32000]".
func override(s resource.Set, text string) (resource.Set, error) {
	for _, part := range strings.Split(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		kind, value, _ := strings.Cut(part, ":")
		if resource.Kind(kind) == resource.Ports {
			ports, err := resource.ParseRanges(value)
			if err != nil {
				return s, fmt.Errorf("resources: %w", err)
			}
			s.Ports = ports
			continue
		}
		number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return s, fmt.Errorf("resources: %q, expected KIND:NUMBER", part)
		}
		amount, err := resource.FromFloat(number)
		if err != nil {
			return s, fmt.Errorf("resources: %s: %w", kind, err)
		}
		switch resource.Kind(kind) {
		case resource.CPUs:
			s.CPUs = amount
		case resource.Mem:
			s.Mem = amount
		case resource.Disk:
			s.Disk = amount
		case resource.GPUs:
			s.GPUs = int64(number)
		default:
			return s, fmt.Errorf("resources: %q is not one of cpus, mem, disk, gpus, ports", kind)
		}
	}
	return s, nil
}

// bootNonce tells one boot of the machine from the next. Containers of one
// machine share the kernel's boot id, so the start time of PID 1 goes with it.
func bootNonce() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return "", fmt.Errorf("read start time of PID 1: %w", err)
	}
	// Field 22 counts from behind the command's closing parenthesis.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", errors.New("read start time of PID 1: /proc/1/stat is not as expected")
	}
	return strings.TrimSpace(string(id)) + "-" + fields[19], nil
}

// hostAddress is the address by which other machines reach this one: the source
// address of the default route.
func hostAddress(ctx context.Context) (string, error) {
	// Dialing UDP sends nothing; it only asks the routing table.
	c, err := (&net.Dialer{}).DialContext(ctx, "udp4", "192.0.2.1:9")
	if err == nil {
		defer c.Close()
		host, _, err := net.SplitHostPort(c.LocalAddr().String())
		return host, err
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String(), nil
		}
	}
	return "", errors.New("find out this machine's address: give it with --advertise")
}

// keptID reads an id from a file, or makes and keeps a random one.
func keptID(path, prefix string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(bytes.TrimSpace(b)) > 0 {
		return string(bytes.TrimSpace(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read id: %w", err)
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("make id: %w", err)
	}
	id := fmt.Sprintf("%s%x", prefix, random)
	return id, writeKept(path, []byte(id+"\n"))
}

// writeKept replaces a small file durably: the whole old or the whole new one
// survives a crash.
func writeKept(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// cpuSeconds is the CPU time that all processes of the machine have used, for
// usage: the difference of two calls over the time between them.
func cpuSeconds() (busyTicks int64, ok bool) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal
	for i, v := range fields {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && i != 4 && i != 5 && i < 9 {
			busyTicks += n
		}
	}
	return busyTicks, len(fields) > 8
}

func writeLines(path string, lines []string) error {
	return writeKept(path, []byte(strings.Join(lines, "\n")+"\n"))
}
