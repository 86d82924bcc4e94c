// The shim: one small process per task that outlives the agent.
//
// It is the same binary: a constructor takes over before the Go runtime starts
// when argv[1] is "shim". It reads its plan (descriptor 3, written by
// plan_linux.go), starts the task, copies the task's output into log segments
// (layout: package sandbox), waits, and leaves the exit in the run directory.
// It decides nothing: what is mounted, masked, dropped and limited is in the plan.
//
// Descriptors given by the agent: 3 the plan, 4 the report ("ok PID" or
// "err TEXT", then end of file), 5 a file whose flock shows that the shim lives.
#define _GNU_SOURCE
#include "shim_linux.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// What headers may not have yet; the numbers are the same on every architecture.
enum { NR_OPEN_TREE = 428, NR_MOVE_MOUNT = 429, NR_PIDFD_OPEN = 434, NR_CLOSE_RANGE = 436, NR_MOUNT_SETATTR = 442 };
enum { OPEN_TREE_CLONED = 1, TREE_RECURSIVE = 0x8000, MOVE_FROM_EMPTY = 4, RANGE_CLOEXEC = 4, ATTR_RDONLY = 1 };
enum { FD_PLAN = 3, FD_REPORT = 4, FD_LOCK = 5, FD_FIRST_FREE = 6 };
enum { MAX_OPS = 8192, MAX_ARGS = 4096, MAX_SEGMENTS = 64 };

// A plan is a sequence of operations, each a name and a fixed number of
// arguments, all ended by NUL. Each belongs to one of the processes.
enum who { SHIM, INIT, JOIN, TASK }; // the task joins groups before it enters the namespaces

struct kind { const char *name; int args; enum who who; };
static const struct kind kinds[] = {
	{"run", 1, SHIM}, {"sandbox", 1, SHIM}, {"log", 2, SHIM}, {"oom", 1, SHIM}, {"shimcg", 1, SHIM},
	{"ns", 1, SHIM}, {"filter", 1, SHIM}, {"helper", 1, SHIM}, {"lease", 1, SHIM},
	{"mount", 5, INIT}, {"mkdir", 2, INIT}, {"mknod", 3, INIT}, {"symlink", 2, INIT}, {"hold", 1, INIT},
	{"place", 1, INIT}, {"readonly", 1, INIT}, {"mask", 1, INIT},
	{"cgroup", 1, JOIN}, {"cgroupns", 0, TASK}, {"chdir", 1, TASK}, {"group", 1, TASK}, {"gid", 1, TASK},
	{"uid", 1, TASK}, {"bound", 1, TASK}, {"caps", 1, TASK}, {"nonewprivs", 0, TASK}, {"seccomp", 0, TASK}, {"env", 1, TASK}, {"arg", 1, TASK},
};

struct op { const struct kind *kind; char *a[5]; };
struct segment { unsigned number; uint64_t offset; int64_t at; };

// A stream is stdout or stderr: a pipe on one side, log segments on the other.
struct stream {
	const char *name;
	int pipe, file;
	uint64_t size;    // bytes in the current segment
	uint64_t dropped; // bytes lost to write errors, in all
	uint64_t noted;   // of these, how many the log itself tells of
	int cause;        // errno of the last loss
	int count;
	struct segment live[MAX_SEGMENTS]; // oldest first; the last is being written
};

static struct {
	struct op ops[MAX_OPS];
	int count;
	int run, sandbox, signals, lease;
	uint64_t segment_bytes;
	int segments;
	const char *oom, *helper;
	int ns, init_fd;
	struct sock_fprog filter;
	pid_t init, task;
	struct stream out[2];
	char failure[1024];
} S;

static int failed(const char *format, ...) {
	va_list list;
	va_start(list, format);
	int error = errno, n = vsnprintf(S.failure, sizeof S.failure - 128, format, list);
	va_end(list);
	if (n > (int)sizeof S.failure - 129) n = sizeof S.failure - 129;
	if (error) snprintf(S.failure + n, 128, ": %s", strerror(error));
	return -1;
}

static int write_all(int fd, const char *p, size_t n) {
	for (ssize_t w; n > 0; p += w, n -= w)
		if ((w = write(fd, p, n)) < 0) {
			if (errno != EINTR) return -1;
			w = 0;
		}
	return 0;
}

static int write_file(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0) return -1;
	int r = write_all(fd, text, strlen(text)), e = errno;
	close(fd);
	errno = e;
	return r;
}

// read_file reads to the end and puts a NUL behind.
static char *read_file(int fd, size_t *size) {
	char *text = NULL;
	size_t room = 0;
	for (*size = 0;;) {
		if (*size == room && (text = realloc(text, (room += 16384) + 1)) == NULL) return NULL;
		ssize_t n = read(fd, text + *size, room - *size);
		if (n < 0 && errno != EINTR) return NULL;
		if (n == 0) break;
		if (n > 0) *size += n;
	}
	text[*size] = 0;
	return text;
}

// put writes a file of the run directory so that it is there whole or not at all.
static int put(const char *name, const char *text, size_t n, int sync) {
	int fd = openat(S.run, "tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int ok = fd >= 0 && write_all(fd, text, n) == 0 && (!sync || fsync(fd) == 0);
	if (fd >= 0) close(fd);
	if (!ok || renameat(S.run, "tmp", S.run, name) < 0) return failed("write %s", name);
	return sync ? fsync(S.run) : 0;
}

static int64_t now_ms(void) {
	struct timespec t = {0, 0};
	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

// ---- the plan

static int parse(char *p, size_t size) {
	char *end = p + size;
	while (p < end) {
		const struct kind *k = NULL;
		for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
			if (strcmp(kinds[i].name, p) == 0) k = &kinds[i];
		errno = 0;
		if (k == NULL) return failed("plan: unknown operation %s", p);
		if (S.count == MAX_OPS) return failed("plan: more than %d operations", MAX_OPS);
		struct op *o = &S.ops[S.count++];
		o->kind = k;
		for (int i = 0; i < k->args; i++) {
			p += strlen(p) + 1;
			if (p >= end) return failed("plan: %s lacks an argument", k->name);
			o->a[i] = p;
		}
		p += strlen(p) + 1;
	}
	return 0;
}

static int load_filter(const char *path) {
	size_t size = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return -1;
	char *code = read_file(fd, &size);
	close(fd);
	if (code == NULL) return -1;
	S.filter = (struct sock_fprog){size / sizeof(struct sock_filter), (struct sock_filter *)code};
	return 0;
}

static int do_shim(const struct op *o) {
	const char *name = o->kind->name, *a = o->a[0];
	if (strcmp(name, "run") == 0) return S.run = open(a, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (strcmp(name, "sandbox") == 0) return S.sandbox = open(a, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (strcmp(name, "lease") == 0) return S.lease = open(a, O_RDONLY | O_CLOEXEC);
	if (strcmp(name, "shimcg") == 0) return write_file(a, "0");
	if (strcmp(name, "filter") == 0) return load_filter(a);
	if (strcmp(name, "oom") == 0) S.oom = a;
	if (strcmp(name, "ns") == 0) S.ns = atoi(a);
	if (strcmp(name, "helper") == 0) S.helper = a;
	if (strcmp(name, "log") == 0) {
		S.segment_bytes = strtoull(a, NULL, 10);
		S.segments = atoi(o->a[1]);
		errno = EINVAL;
		return S.segment_bytes == 0 || S.segments < 1 || S.segments > MAX_SEGMENTS ? -1 : 0;
	}
	return 0;
}

static int held = -1; // the mount that "hold" took and "place" puts down again

static int mask(const char *path) {
	struct stat st;
	if (lstat(path, &st) < 0) return errno == ENOENT ? 0 : -1;
	if (S_ISDIR(st.st_mode)) return mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=0k,nr_inodes=2,mode=555");
	return mount("/dev/null", path, NULL, MS_BIND, NULL);
}

static int make_readonly(const char *path) {
	uint64_t attr[4] = {ATTR_RDONLY, 0, 0, 0}; // struct mount_attr: set, clear, propagation, userns
	if (access(path, F_OK) < 0) return errno == ENOENT ? 0 : -1;
	int r = syscall(NR_MOUNT_SETATTR, AT_FDCWD, path, TREE_RECURSIVE, attr, sizeof attr);
	if (r == 0 || errno != EINVAL || mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0) return r;
	return syscall(NR_MOUNT_SETATTR, AT_FDCWD, path, TREE_RECURSIVE, attr, sizeof attr); // now it is a mount
}

static int do_init(const struct op *o) {
	const char *name = o->kind->name, *a = o->a[0];
	if (strcmp(name, "mount") == 0)
		return mount(a, o->a[1], *o->a[2] ? o->a[2] : NULL, strtoul(o->a[3], NULL, 10), *o->a[4] ? o->a[4] : NULL);
	if (strcmp(name, "mkdir") == 0) return mkdir(a, strtoul(o->a[1], NULL, 8)) < 0 && errno != EEXIST ? -1 : 0;
	if (strcmp(name, "mknod") == 0) return mknod(a, strtoul(o->a[1], NULL, 8), strtoul(o->a[2], NULL, 10));
	if (strcmp(name, "symlink") == 0) return symlink(a, o->a[1]);
	if (strcmp(name, "hold") == 0) return held = syscall(NR_OPEN_TREE, AT_FDCWD, a, OPEN_TREE_CLONED | TREE_RECURSIVE | O_CLOEXEC);
	if (strcmp(name, "place") == 0) return syscall(NR_MOVE_MOUNT, held, "", AT_FDCWD, a, MOVE_FROM_EMPTY) < 0 ? -1 : close(held);
	if (strcmp(name, "mask") == 0) return mask(a);
	return make_readonly(a);
}

static int bound_caps(uint64_t caps) {
	for (int c = 0; c < 64; c++)
		if (!(caps >> c & 1) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0 && errno != EINVAL) return -1;
	return 0;
}

static int set_caps(uint64_t caps) {
	if (geteuid() != 0) return 0; // the change of user has taken them all
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{caps, caps, 0}, {caps >> 32, caps >> 32, 0}};
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &head, data);
}

static gid_t groups[64];
static char *task_argv[MAX_ARGS + 1], *task_env[MAX_ARGS + 1];
static int group_count, arg_count, env_count;

static int do_task(const struct op *o) {
	const char *name = o->kind->name, *a = o->a[0];
	errno = E2BIG;
	if (strcmp(name, "arg") == 0) return arg_count == MAX_ARGS ? -1 : (task_argv[arg_count++] = o->a[0], 0);
	if (strcmp(name, "env") == 0) return env_count == MAX_ARGS ? -1 : (task_env[env_count++] = o->a[0], 0);
	if (strcmp(name, "group") == 0) return group_count == 64 ? -1 : (groups[group_count++] = strtoul(a, NULL, 10), 0);
	if (strcmp(name, "gid") == 0) return setgroups(group_count, groups) < 0 ? -1 : setgid(strtoul(a, NULL, 10));
	if (strcmp(name, "uid") == 0) return setuid(strtoul(a, NULL, 10));
	if (strcmp(name, "cgroupns") == 0) return unshare(CLONE_NEWCGROUP) < 0 && errno != EINVAL ? -1 : 0;
	if (strcmp(name, "chdir") == 0) return chdir(a);
	if (strcmp(name, "bound") == 0) return bound_caps(strtoull(a, NULL, 16));
	if (strcmp(name, "caps") == 0) return set_caps(strtoull(a, NULL, 16));
	if (strcmp(name, "nonewprivs") == 0) return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (strcmp(name, "seccomp") == 0) return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &S.filter, 0, 0);
	return -1;
}

static int do_join(const struct op *o) { return write_file(o->a[0], "0"); }
static int each(enum who who, int (*act)(const struct op *)) {
	for (int i = 0; i < S.count; i++) {
		const struct op *o = &S.ops[i];
		if (o->kind->who == who && act(o) < 0) // of a variable, not even the name is told
			return failed("%s %s %s", o->kind->name, o->kind->args && strcmp(o->kind->name, "env") ? o->a[0] : "", o->kind->args > 1 ? o->a[1] : "");
	}
	return 0;
}

// ---- the task's processes

static void default_signals(void) {
	sigset_t none;
	sigemptyset(&none), sigprocmask(SIG_SETMASK, &none, NULL);
	unsigned long def[4] = {0}; // by system call: libc keeps two signals to itself
	for (int s = 1; s <= 64; s++) syscall(SYS_rt_sigaction, s, def, NULL, 8);
}

// fork_into makes a child that dies with the shim, in new namespaces if flags says so.
static pid_t fork_into(int flags) {
	pid_t parent = getpid();
	pid_t pid = flags ? (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0) : fork();
	if (pid != 0) return pid;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || (flags == 0 && S.init == 0 && getppid() != parent)) _exit(127);
	return 0;
}

static void run_init(int result) {
	if (setsid() < 0 || each(INIT, do_init) < 0) {
		write_all(result, S.failure, strlen(S.failure));
		_exit(127);
	}
	// From here it only reaps: no privilege, nothing open, nothing to trace.
	default_signals();
	signal(SIGCHLD, SIG_IGN);
	set_caps(0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	syscall(NR_CLOSE_RANGE, 0, ~0U, 0);
	for (;;) pause();
}

// start_init makes the namespaces and their first process, which reaps.
static int start_init(void) {
	int result[2];
	if (S.ns == 0 || S.helper != NULL) return 0;
	if (pipe2(result, O_CLOEXEC) < 0) return failed("pipe");
	S.init = fork_into(S.ns);
	if (S.init < 0) return failed("make namespaces");
	if (S.init == 0) {
		close(FD_REPORT);
		run_init(result[1]);
	}
	close(result[1]);
	ssize_t n = read(result[0], S.failure, sizeof S.failure - 1);
	close(result[0]);
	if (n > 0) return S.failure[n] = 0, -1;
	S.init_fd = syscall(NR_PIDFD_OPEN, S.init, 0);
	if (S.init_fd < 0 || setns(S.init_fd, CLONE_NEWPID) < 0) return failed("enter the pid namespace");
	return 0;
}

static void exec_helper(int result, int go) {
	char fd[64];
	int plan = dup(FD_PLAN); // without close-on-exec; the helper finds its part in it
	lseek(plan, 0, SEEK_SET);
	fcntl(result, F_SETFD, 0), fcntl(go, F_SETFD, 0);
	snprintf(fd, sizeof fd, "%d,%d,%d", plan, result, go);
	char *argv[] = {"dcos", "shim-image", fd, NULL};
	execve("/proc/self/exe", argv, environ);
	failed("start the helper");
}

static void exec_task(int result, int go) {
	char c;
	if (read(go, &c, 1) != 1) _exit(127); // the shim is gone
	if (each(JOIN, do_join) < 0) return;
	if (S.init > 0 && setns(S.init_fd, S.ns & ~CLONE_NEWPID) < 0) {
		failed("enter the namespaces");
		return;
	}
	if (each(TASK, do_task) < 0) return;
	prctl(PR_SET_PDEATHSIG, SIGKILL); // a change of user has cleared it
	environ = task_env;
	errno = EINVAL;
	if (arg_count > 0) execvp(task_argv[0], task_argv);
	int missing = errno == ENOENT || errno == ENOTDIR;
	failed("command %s", task_argv[0]);
	write_all(result, S.failure, strlen(S.failure));
	_exit(missing ? 127 : 126);
}

static void run_task(int result, int go, int out, int err) {
	setsid(), umask(022), default_signals();
	write_file("/proc/self/oom_score_adj", "0");
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(127);
	syscall(NR_CLOSE_RANGE, FD_PLAN, ~0U, RANGE_CLOEXEC);
	S.helper != NULL ? exec_helper(result, go) : exec_task(result, go);
	write_all(result, S.failure, strlen(S.failure));
	_exit(127);
}

// lease_over: nobody extended the lease in time. Its file, which the agent writes, holds the end in ns of CLOCK_BOOTTIME.
static int lease_over(void) {
	struct timespec t;
	int64_t end;
	if (S.lease < 0) return 0; // not fenced
	return clock_gettime(CLOCK_BOOTTIME, &t) < 0 || pread(S.lease, &end, sizeof end, 0) != sizeof end || t.tv_sec * 1000000000LL + t.tv_nsec >= end;
}

// start_task returns when the task's program runs. The pids are on disk before
// it is let go, so that no program runs which a new agent could not find.
static int start_task(void) {
	int result[2], go[2], out[2], err[2];
	if (pipe2(result, O_CLOEXEC) < 0 || pipe2(go, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) return failed("pipe");
	pid_t child = S.task = fork_into(0);
	if (child < 0) return failed("fork");
	if (child == 0) {
		close(go[1]);
		run_task(result[1], go[0], out[1], err[1]);
	}
	close(result[1]); close(go[0]); close(out[1]); close(err[1]);
	fcntl(S.out[0].pipe = out[0], F_SETFL, O_NONBLOCK), fcntl(S.out[1].pipe = err[0], F_SETFL, O_NONBLOCK);
	char text[sizeof S.failure];
	ssize_t n = 0, r;
	if (S.helper != NULL) { // its first line is the pid of the container's first process, or else an error
		while (n < 15 && read(result[0], text + n, 1) == 1 && text[n] != '\n') n++;
		text[n] = 0;
		if (*text == 'P') S.task = atoi(text + 1);
	}
	if (S.helper == NULL || *text == 'P') {
		n = snprintf(text, sizeof text, "%d %d %d\n", getpid(), S.init, S.task);
		if (put("pids", text, n, 0) < 0) return -1;
		if (lease_over()) return errno = 0, failed("its lease has ended");
		write_all(go[1], "g", 1);
		n = 0;
	}
	while (n < (ssize_t)sizeof text - 1 && ((r = read(result[0], text + n, sizeof text - 1 - n)) > 0 || (r < 0 && errno == EINTR))) n += r > 0 ? r : 0;
	close(result[0]); close(go[1]);
	text[n] = 0;
	if (n > 0) return memcpy(S.failure, text, n + 1), -1;
	int status = 0;
	errno = 0;
	if (S.helper != NULL && (waitpid(child, &status, 0) != child || status != 0 || S.task == child)) return failed("the helper ended, see helper.log (status %d)", status);
	return 0;
}

// ---- logs

static void lose(struct stream *s) {
	static char sink[65536];
	s->cause = errno;
	ssize_t n = read(s->pipe, sink, sizeof sink);
	if (n > 0) s->dropped += n;
	if (n == 0) close(s->pipe), s->pipe = -1;
}

// write_index replaces the sidecar that says where each kept segment begins.
static void write_index(const struct stream *s) {
	char tmp[64], name[64], text[MAX_SEGMENTS * 64]; // a line is at most 50 bytes
	size_t n = 0;
	for (int i = 0; i < s->count; i++)
		n += snprintf(text + n, sizeof text - n, "%u %llu %lld\n", s->live[i].number, (unsigned long long)s->live[i].offset, (long long)s->live[i].at);
	snprintf(name, sizeof name, ".%s.index", s->name);
	snprintf(tmp, sizeof tmp, ".%s.index.tmp", s->name);
	unlinkat(S.sandbox, tmp, 0);
	int fd = openat(S.sandbox, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0) return;
	if (write_all(fd, text, n) == 0) renameat(S.sandbox, tmp, S.sandbox, name);
	close(fd);
}

// next_segment puts the full segment aside and begins a new one. The directory
// is the task's to write: nothing here follows a link or opens what is there.
static int next_segment(struct stream *s) {
	char name[64];
	struct segment next = {0, 0, now_ms()};
	if (s->count > 0) {
		const struct segment *last = &s->live[s->count - 1];
		next.number = last->number + 1, next.offset = last->offset + s->size;
		if (s->file >= 0) {
			snprintf(name, sizeof name, "%s.%u", s->name, last->number);
			renameat(S.sandbox, s->name, S.sandbox, name);
			close(s->file);
		}
	}
	s->file = -1;
	unlinkat(S.sandbox, s->name, 0);
	int fd = openat(S.sandbox, s->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0) return -1;
	s->file = fd, s->size = 0;
	struct segment gone = s->live[0];
	int full = s->count == S.segments;
	if (full) memmove(s->live, s->live + 1, --s->count * sizeof *s->live);
	s->live[s->count++] = next;
	if (next.number > 0) write_index(s); // a log of one segment needs none
	snprintf(name, sizeof name, "%s.%u", s->name, gone.number);
	return full ? unlinkat(S.sandbox, name, 0) & 0 : 0;
}

static void note(struct stream *s) {
	char text[160];
	int n = snprintf(text, sizeof text, "\n[dcos: %llu bytes of output were lost here: %s]\n", (unsigned long long)(s->dropped - s->noted), strerror(s->cause));
	ssize_t w = write(s->file, text, n);
	if (w > 0) s->size += w;
	if (w == n) s->noted = s->dropped;
}

// pump moves what the pipe holds. It never waits for the task, and the task
// never waits for a full disk: what cannot be written is dropped and counted.
static void pump(struct stream *s) {
	for (int turn = 0; turn < 64 && s->pipe >= 0; turn++) {
		if ((s->file < 0 || s->size >= S.segment_bytes) && next_segment(s) < 0) return lose(s);
		if (s->dropped > s->noted) note(s);
		if (s->size >= S.segment_bytes) continue;
		ssize_t n = splice(s->pipe, NULL, s->file, NULL, S.segment_bytes - s->size, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		if (n > 0) s->size += n;
		else if (n == 0) close(s->pipe), s->pipe = -1;
		else if (errno == EAGAIN) return;
		else if (errno != EINTR) return lose(s);
	}
}

// ---- the end

// kill_children ends what the task left behind: as the subreaper, the shim is
// the parent of every process whose own parent has ended.
static void kill_children(void) {
	char path[64], *next, *p;
	size_t size;
	snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return;
	char *text = p = read_file(fd, &size);
	close(fd);
	for (long pid; p && (pid = strtol(p, &next, 10)) > 0; p = next) kill(pid, SIGKILL);
	free(text);
}

static long oom_kills(void) {
	size_t size;
	int fd = S.oom ? open(S.oom, O_RDONLY | O_CLOEXEC) : -1;
	char *text = fd < 0 ? NULL : read_file(fd, &size), *p = text ? strstr(text, "oom_kill ") : NULL;
	return p ? atol(p + 9) : 0;
}

static void write_exit(int status, const char *failure) {
	char text[4096], clean[2048];
	size_t n = 0;
	for (const char *p = failure; *p && n < sizeof clean - 2; p++) {
		if (*p == '"' || *p == '\\') clean[n++] = '\\';
		clean[n++] = (unsigned char)*p < ' ' ? ' ' : *p;
	}
	clean[n] = 0;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1, sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	int size = snprintf(text, sizeof text, "{\"code\":%d,\"signal\":%d,\"oom_kills\":%ld,\"at_ms\":%lld,\"dropped\":[%llu,%llu],\"failure\":\"%s\"}\n",
		code, sig, oom_kills(), (long long)now_ms(), (unsigned long long)S.out[0].dropped, (unsigned long long)S.out[1].dropped, clean);
	// A full disk must not hide the end of the task; a removed directory wants no file.
	for (int try = 0; try < 600 && put("exit.json", text, size, 1) < 0 && errno != ENOENT; try++) sleep(1);
}

// reap collects ended children; it is 0 when there are none left.
static int reap(int *status, int *ended) {
	for (;;) {
		int st;
		pid_t pid = waitpid(-1, &st, WNOHANG);
		if (pid < 0) return errno != ECHILD;
		if (pid == 0) return 1;
		if (pid == S.task) *status = st, *ended = 1;
	}
}

static void turn(int timeout) {
	struct pollfd p[3] = {{S.signals, POLLIN, 0}, {S.out[0].pipe, POLLIN, 0}, {S.out[1].pipe, POLLIN, 0}};
	struct signalfd_siginfo info;
	poll(p, 3, timeout);
	while (read(S.signals, &info, sizeof info) > 0) {}
	for (int i = 0; i < 2; i++)
		if (p[i + 1].revents) pump(&S.out[i]);
}

static int watch(void) {
	int status = 127 << 8, ended = 0, left;
	while ((left = reap(&status, &ended)) && !ended && !*S.failure && !lease_over()) turn(S.lease < 0 ? -1 : 500);
	for (int n = 0; left && n < 200; n++) { // a process that cannot die is given up after about 10 s
		if (S.init > 0) kill(S.init, SIGKILL);
		else kill_children();
		turn(n < 20 ? 1 : 50);
		left = reap(&status, &ended);
	}
	for (int i = 0; i < 2; i++) pump(&S.out[i]);
	return status;
}

static int prepare(void) {
	size_t size = 0;
	sigset_t chld;
	static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGXFSZ, SIGUSR1, SIGUSR2, SIGALRM};
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) signal(ignored[i], SIG_IGN);
	S.out[0] = (struct stream){.name = "stdout", .pipe = -1, .file = -1}, S.out[1] = (struct stream){.name = "stderr", .pipe = -1, .file = -1};
	S.run = S.sandbox = S.lease = -1;
	sigemptyset(&chld), sigaddset(&chld, SIGCHLD), sigprocmask(SIG_BLOCK, &chld, NULL);
	syscall(NR_CLOSE_RANGE, FD_FIRST_FREE, ~0U, 0);
	for (int fd = FD_PLAN; fd < FD_FIRST_FREE; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) return failed("become subreaper");
	if ((S.signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK)) < 0) return failed("signalfd");
	char *text = read_file(FD_PLAN, &size);
	if (text == NULL) return failed("read plan");
	if (parse(text, size) < 0 || each(SHIM, do_shim) < 0) return -1;
	write_file("/proc/self/oom_score_adj", "-999"); // best effort; the task sets its own
	for (int i = 0; i < 2; i++)
		if (next_segment(&S.out[i]) < 0) return failed("create %s in the sandbox", S.out[i].name);
	// A helper mounts: its mounts live as long as the shim and are seen by nobody else.
	if (S.helper != NULL && (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)) return failed("make a mount namespace");
	return chdir("/");
}

int shim_main(void) {
	if (prepare() < 0 || start_init() < 0 || start_task() < 0) {
		char failure[sizeof S.failure];
		memcpy(failure, S.failure, sizeof failure);
		if (S.task > 0) kill(S.task, SIGKILL);
		int status = S.task > 0 ? watch() : 127 << 8;
		if (S.run >= 0) write_exit(WIFEXITED(status) && WEXITSTATUS(status) ? status : 127 << 8, failure);
		dprintf(FD_REPORT, "err %s\n", failure);
		return 1;
	}
	dprintf(FD_REPORT, "ok %d\n", S.task);
	close(FD_REPORT);
	write_exit(watch(), "");
	return 0;
}

// glibc gives constructors the arguments of main.
__attribute__((constructor)) static void take_over(int argc, char **argv) {
	if (argc > 1 && strcmp(argv[1], SHIM_WORD) == 0) _exit(shim_main());
}
