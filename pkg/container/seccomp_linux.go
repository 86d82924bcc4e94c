//go:build seccomp

package container

import (
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

func seccompSupported() bool { return true }

// highestCall bounds the search for the system calls that libseccomp knows.
const highestCall = 1024

// callNames are the system calls of this architecture that libseccomp knows.
func callNames() []string {
	var names []string
	for n := range libseccomp.ScmpSyscall(highestCall) {
		if name, err := n.GetName(); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// seccompSpec is the default profile in the form that libcontainer takes. Calls
// that neither this list nor libseccomp knows answer ENOSYS, so that programs
// fall back; calls that are denied answer EPERM.
func seccompSpec() (*specs.LinuxSeccomp, error) {
	arch := map[string]specs.Arch{"amd64": specs.ArchX86_64, "arm64": specs.ArchAARCH64}[runtime.GOARCH]
	if arch == "" {
		return nil, fmt.Errorf("seccomp: no profile for %s", runtime.GOARCH)
	}
	allowed, denied := split(callNames())
	enosys, eperm := uint(unix.ENOSYS), uint(unix.EPERM)
	s := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: &enosys, Architectures: []specs.Arch{arch},
		Syscalls: []specs.LinuxSyscall{
			{Names: allowed, Action: specs.ActAllow},
			{Names: denied, Action: specs.ActErrno, ErrnoRet: &eperm},
		},
	}
	for _, c := range conditions {
		op, action, ret := specs.OpMaskedEqual, specs.ActAllow, (*uint)(nil)
		arg := specs.LinuxSeccompArg{Index: c.arg, Value: c.mask, ValueTwo: c.value, Op: op}
		if c.mask == 0 {
			arg = specs.LinuxSeccompArg{Index: c.arg, Value: c.value, Op: map[bool]specs.LinuxSeccompOperator{true: specs.OpEqualTo, false: specs.OpNotEqual}[c.equal]}
		}
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{c.call}, Action: action, ErrnoRet: ret, Args: []specs.LinuxSeccompArg{arg}})
	}
	return s, nil
}

// seccompProgram is the same profile as the program that the shim loads.
func seccompProgram() ([]byte, error) {
	f, err := libseccomp.NewFilter(libseccomp.ActErrno.SetReturnCode(int16(unix.ENOSYS)))
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	defer f.Release()
	_ = f.SetOptimize(2) // a tree instead of a row of comparisons, where the library can
	allowed, denied := split(callNames())
	add := func(name string, action libseccomp.ScmpAction, conds ...libseccomp.ScmpCondition) error {
		call, err := libseccomp.GetSyscallFromName(name)
		if err != nil {
			return nil // not a call of this architecture
		}
		if len(conds) == 0 {
			return f.AddRule(call, action)
		}
		return f.AddRuleConditional(call, action, conds)
	}
	for _, name := range allowed {
		if err := add(name, libseccomp.ActAllow); err != nil {
			return nil, fmt.Errorf("seccomp: allow %s: %w", name, err)
		}
	}
	for _, name := range denied {
		if err := add(name, libseccomp.ActErrno.SetReturnCode(int16(unix.EPERM))); err != nil {
			return nil, fmt.Errorf("seccomp: deny %s: %w", name, err)
		}
	}
	for _, c := range conditions {
		var cond libseccomp.ScmpCondition
		var err error
		switch {
		case c.mask != 0:
			cond, err = libseccomp.MakeCondition(c.arg, libseccomp.CompareMaskedEqual, c.mask, c.value)
		case c.equal:
			cond, err = libseccomp.MakeCondition(c.arg, libseccomp.CompareEqual, c.value)
		default:
			cond, err = libseccomp.MakeCondition(c.arg, libseccomp.CompareNotEqual, c.value)
		}
		if err == nil {
			err = add(c.call, libseccomp.ActAllow, cond)
		}
		if err != nil {
			return nil, fmt.Errorf("seccomp: %s: %w", c.call, err)
		}
	}
	return export(f)
}

// export goes by a file in memory: the call that needs none is newer than the
// library in use.
func export(f *libseccomp.ScmpFilter) ([]byte, error) {
	fd, err := unix.MemfdCreate("filter", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	file := os.NewFile(uintptr(fd), "filter")
	defer file.Close()
	if err := f.ExportBPF(file); err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	return io.ReadAll(file)
}
