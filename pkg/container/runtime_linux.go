package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/sandbox"
)

// Runtime starts, finds, signals and removes tasks. It keeps nothing in
// memory: everything is in its directory and in the kernel, so that another
// Runtime on the same directory goes on where this one was killed. Calls for
// different tasks may run at the same time; those for one task, but for Wait,
// come from one goroutine at a time.
type Runtime struct {
	dir       string
	exe       string // what becomes a shim: this binary
	agent     string
	hide      []string
	boot      string
	log       *slog.Logger
	caps      Capabilities
	shimProcs []string  // by which shims join their control group
	filter    string    // file of the seccomp program; "" is none
	started   time.Time // of the machine, by the wall clock when New was called
}

// record is task.json: what a run directory is about.
type record struct {
	Task dcos.TaskID `json:"task"`
	Kind dcos.Kind   `json:"kind"`
	Boot string      `json:"boot"`
}

const (
	recordFile, pidsFile, exitFile = "task.json", "pids", "exit.json"

	trashPrefix, filterFile = ".trash-", ".seccomp"
)

// New opens the run directory, makes it if need be, probes the node, and
// finishes removals that were cut short. It starts and ends no task.
func New(c Config) (*Runtime, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if c.AgentID == "" || c.AgentID != sandbox.DirName(dcos.TaskID(c.AgentID)) {
		return nil, fmt.Errorf("run directory: %w: agent id %q cannot name a control group", dcos.ErrInvalid, c.AgentID)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("boot id: %w", err)
	}
	r := &Runtime{dir: dir, exe: "/proc/self/exe", agent: c.AgentID, boot: strings.TrimSpace(string(boot)), log: c.Log, caps: Probe(c.AgentID)}
	r.started = time.Now().Round(0).Add(-bootTime())
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	for _, h := range c.Hide {
		if h, err = filepath.Abs(h); err == nil {
			r.hide = append(r.hide, h)
		}
	}
	if err := r.sweep(); err != nil {
		return nil, err
	}
	return r, r.prepare()
}

// sweep deletes what a removal has already put aside.
func (r *Runtime) sweep() error {
	names, err := filepath.Glob(filepath.Join(r.dir, trashPrefix+"*"))
	if err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	for _, name := range names {
		if err := sandbox.RemoveTree(name); err != nil {
			return fmt.Errorf("run directory: %w", err)
		}
	}
	return nil
}

// prepare makes what all tasks share: the shims' control group, the filter.
func (r *Runtime) prepare() error {
	if r.caps.CgroupVersion == 0 {
		return nil
	}
	m, err := r.group(shimsName, &cgroups.Resources{SkipDevices: true})
	if err != nil {
		return err
	}
	r.shimProcs = slices.DeleteFunc(procsFiles(m), func(file string) bool {
		_, err := os.Stat(file) // version 2 has no devices hierarchy
		return err != nil
	})
	program, err := seccompProgram()
	if err != nil || program == nil {
		return err
	}
	r.filter = filepath.Join(r.dir, filterFile)
	return replaceFile(r.filter, program)
}

// replaceFile writes a file so that readers see the old or the new one.
func replaceFile(path string, content []byte) error {
	if err := os.WriteFile(path+".tmp", content, 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// Capabilities are what New found to be enforced here.
func (r *Runtime) Capabilities() Capabilities { return r.caps }

// Close removes the agent's control groups, when no task and no shim is in
// them. It is for uninstalling: tasks that run keep theirs.
func (r *Runtime) Close() error {
	if r.caps.CgroupVersion == 0 {
		return nil
	}
	m, err := r.group(shimsName, &cgroups.Resources{SkipDevices: true})
	if err != nil {
		return err
	}
	var failed error
	for _, file := range procsFiles(m) {
		shims := filepath.Dir(file)
		agent := filepath.Dir(shims)
		for _, dir := range []string{shims, agent} {
			if err := removeGroup(dir); err != nil && failed == nil {
				failed = fmt.Errorf("remove control group %s: %w", dir, err)
			}
		}
		_ = unix.Rmdir(filepath.Dir(agent)) // of all agents on this machine: the last one removes it
	}
	return failed
}

// removeGroup waits a little for a process that is about to vanish.
func removeGroup(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || pause(ctx, time.Millisecond) != nil {
			return err
		}
	}
}

func (r *Runtime) taskDir(id dcos.TaskID) string {
	return filepath.Join(r.dir, sandbox.DirName(id))
}

func (r *Runtime) record(dir string) (record, error) {
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return record{}, err
	}
	var rec record
	if err := json.Unmarshal(text, &rec); err != nil {
		return record{}, fmt.Errorf("%s: %w", recordFile, err)
	}
	return rec, nil
}

// List names every task that has state here, running or not, sorted: what is
// in it and not in the agent's checkpoint is an orphan, to be removed. A
// directory that a crash left without a name is deleted, nothing ran in it.
func (r *Runtime) List() ([]dcos.TaskID, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", err)
	}
	var ids []dcos.TaskID
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		rec, err := r.record(filepath.Join(r.dir, e.Name()))
		switch {
		case err == nil && sandbox.DirName(rec.Task) == e.Name():
			ids = append(ids, rec.Task)
		case err == nil || errors.Is(err, fs.ErrNotExist):
			if err := sandbox.RemoveTree(filepath.Join(r.dir, e.Name())); err != nil {
				return nil, fmt.Errorf("list tasks: %w", err)
			}
		default:
			return nil, fmt.Errorf("list tasks: %s: %w", e.Name(), err)
		}
	}
	slices.Sort(ids)
	return ids, nil
}
