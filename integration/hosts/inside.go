package hosts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The functions of this file need no network: they reach a host through the
// machine's kernel, so they work on a partitioned one too.

var errOff = errors.New("the host is off")

// openInside opens a path as a process of the host would, links included.
func (h *Host) openInside(name string, flags uint64) (*os.File, error) {
	pid := h.PID1()
	if pid == 0 {
		return nil, fmt.Errorf("%s: %s: %w", h.opt.Name, name, errOff)
	}
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: root: %w", h.opt.Name, err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, name, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.opt.Name, &os.PathError{Op: "open", Path: name, Err: err})
	}
	return os.NewFile(uintptr(fd), name), nil
}

// ReadFile reads a file of the running host.
func (h *Host) ReadFile(name string) ([]byte, error) {
	f, err := h.openInside(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// WriteFile writes a file of the running host, at once or not at all. Its
// directory must exist.
func (h *Host) WriteFile(name string, data []byte, mode os.FileMode) error {
	return h.put(name, bytes.NewReader(data), mode)
}

// Copy puts a file of the machine, with its mode, on the running host. A
// program that runs there is replaced, not overwritten.
func (h *Host) Copy(local, remote string) error {
	f, err := os.Open(local)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return h.put(remote, f, info.Mode().Perm())
}

func (h *Host) put(name string, from io.Reader, mode os.FileMode) error {
	dir, err := h.openInside(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	here := fmt.Sprintf("/proc/self/fd/%d", dir.Fd())
	temp := filepath.Join(here, path.Base(name)+".part")
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", h.opt.Name, name, err)
	}
	_, err = io.Copy(f, from)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(temp, filepath.Join(here, path.Base(name)))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %s: %w", h.opt.Name, name, err), removeIfThere(temp))
	}
	return nil
}

// Process is a process of a host.
type Process struct {
	PID     int // as the host sees it
	Machine int // as the machine sees it: for signals from the test
	Name    string
	Args    []string
}

// Processes lists the host's processes, those of its containers included.
func (h *Host) Processes() ([]Process, error) {
	pids, err := cgroupPids(h.net.trees, h.cgroup)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.opt.Name, err)
	}
	var out []Process
	for pid := range pids {
		if p, ok := process(pid); ok {
			out = append(out, p)
		}
	}
	return out, nil
}

func process(pid int) (Process, bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Process{}, false
	}
	p := Process{Machine: pid}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		switch {
		case key == "Name":
			p.Name = strings.TrimSpace(value)
		case key == "NSpid" && len(fields) > 1: // the machine's number, the host's, a container's ...
			p.PID, _ = strconv.Atoi(fields[1])
		}
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || p.PID == 0 {
		return Process{}, false
	}
	if len(args) > 0 {
		p.Args = strings.Split(strings.TrimRight(string(args), "\x00"), "\x00")
	}
	return p, true
}

// Pids lists the processes of a name, as the host numbers them. The name is
// the kernel's (15 bytes at most) or the base of the program's first word.
func (h *Host) Pids(name string) ([]int, error) {
	all, err := h.Processes()
	if err != nil {
		return nil, err
	}
	var out []int
	for _, p := range all {
		if p.Name == name || len(p.Args) > 0 && path.Base(p.Args[0]) == name {
			out = append(out, p.PID)
		}
	}
	return out, nil
}

// Kill sends a signal to a process that the host calls pid.
func (h *Host) Kill(pid int, sig syscall.Signal) error {
	all, err := h.Processes()
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.PID == pid {
			return syscall.Kill(p.Machine, sig)
		}
	}
	return fmt.Errorf("%s: kill %d: no such process", h.opt.Name, pid)
}

// Enter runs a command in the host's namespaces, but in the test's cgroups
// and without the network: also when the host is partitioned.
func (h *Host) Enter(command ...string) (string, error) {
	pid := h.PID1()
	if pid == 0 {
		return "", fmt.Errorf("%s: %w", h.opt.Name, errOff)
	}
	args := append([]string{"15", "nsenter", "--target", strconv.Itoa(pid), "--all", "--"}, command...)
	cmd := exec.Command("timeout", args...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=linux"}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %s: %w: %s", h.opt.Name, quote(command), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// LastWords is what a failed test wants to see: the end of console and journal.
func (h *Host) LastWords() string {
	console, err := os.ReadFile(filepath.Join(h.dir, "console"))
	text := string(console)
	if err != nil {
		text = err.Error()
	}
	journal, err := h.Enter("journalctl", "--boot", "--no-pager", "--lines=60", "--output=short-precise")
	if err != nil {
		journal += err.Error()
	}
	return text + journal
}
