package container

import (
	"slices"

	"golang.org/x/sys/unix"
)

// defaultCaps are the capabilities of a task that runs as root: what programs
// of usual images need to set up themselves, and nothing that reaches the host.
var defaultCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// defaultCapBits is the same set as the kernel counts it.
const defaultCapBits = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FSETID | 1<<unix.CAP_FOWNER |
	1<<unix.CAP_MKNOD | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETFCAP |
	1<<unix.CAP_SETPCAP | 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_KILL | 1<<unix.CAP_AUDIT_WRITE

// maskedPaths show the host's secrets or reach its devices: a task sees them empty.
var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
	"/sys/devices/virtual/powercap", "/sys/firmware",
}

// readonlyPaths set up the whole machine: a task may look.
var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// deniedCalls are the system calls that administer a machine, load code into
// the kernel, or open parts of it with a long record of holes. Everything else
// that libseccomp knows is allowed.
var deniedCalls = []string{
	"_sysctl", "acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module",
	"fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "get_kernel_syms", "init_module",
	"io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load",
	"keyctl", "lookup_dcookie", "mount", "mount_setattr", "move_mount", "move_pages", "nfsservctl", "open_by_handle_at",
	"open_tree", "perf_event_open", "pivot_root", "process_madvise", "query_module", "quotactl", "quotactl_fd",
	"reboot", "request_key", "setdomainname", "sethostname", "setns", "settimeofday", "stime", "swapoff", "swapon",
	"sysfs", "syslog", "umount", "umount2", "unshare", "uselib", "userfaultfd", "ustat", "vhangup", "vm86", "vm86old",
}

// unknownCalls answer ENOSYS: their arguments cannot be looked at, and the C
// library has a way around them.
var unknownCalls = []string{"clone3"}

// condition allows a call when an argument fits: (arg & mask) == value, or
// without a mask, arg equal or unequal to value.
type condition struct {
	call        string
	arg         uint
	mask, value uint64
	equal       bool
}

const (
	namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
		unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP
	addrNoRandomize, persona32, queryPersona = 0x0040000, 0x0008, 0xffffffff
)

// conditions are the calls that depend on an argument: no new namespaces, no
// sockets to the host's hypervisor, no execution domains with less protection.
var conditions = []condition{
	{call: "clone", arg: 0, mask: namespaceFlags, value: 0},
	{call: "socket", arg: 0, value: unix.AF_VSOCK},
	{call: "personality", arg: 0, value: 0, equal: true},
	{call: "personality", arg: 0, value: persona32, equal: true},
	{call: "personality", arg: 0, value: addrNoRandomize, equal: true},
	{call: "personality", arg: 0, value: queryPersona, equal: true},
}

// split sorts the known calls into those allowed whatever their arguments and
// those denied; the rest is in neither.
func split(known []string) (allowed, denied []string) {
	for _, name := range known {
		switch {
		case slices.Contains(deniedCalls, name):
			denied = append(denied, name)
		case slices.Contains(unknownCalls, name):
		case slices.ContainsFunc(conditions, func(c condition) bool { return c.call == name }):
		default:
			allowed = append(allowed, name)
		}
	}
	return allowed, denied
}
