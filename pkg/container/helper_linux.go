package container

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// rootFile opens a file of an image, empty if there is none.
func rootFile(dir *os.Root, name string) (io.ReadCloser, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(strings.NewReader("")), nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the image's %s: %w", dcos.ErrInvalid, name, err)
	}
	return f, nil
}

// runHelper makes one container, tells its first process's pid to the shim,
// lets it go when the shim says so, and ends; the container then is the shim's
// child. What goes wrong is told on the same pipe.
func runHelper(args []string) int {
	var plan, result, ready int
	if len(args) != 1 {
		return 2
	}
	if n, err := fmt.Sscanf(args[0], "%d,%d,%d", &plan, &result, &ready); n != 3 || err != nil {
		return 2
	}
	for _, fd := range []int{plan, result, ready} {
		unix.CloseOnExec(fd)
	}
	tell := os.NewFile(uintptr(result), "result")
	if err := help(os.NewFile(uintptr(plan), "plan"), tell, os.NewFile(uintptr(ready), "ready")); err != nil {
		fmt.Fprint(tell, err)
		return 1
	}
	return 0
}

// readHelperPlan finds the helper's part in the shim's plan.
func readHelperPlan(f io.Reader) (helperPlan, error) {
	var h helperPlan
	text, err := io.ReadAll(io.LimitReader(f, maxPlan))
	if err != nil {
		return h, err
	}
	_, rest, found := bytes.Cut(text, []byte("\x00helper\x00"))
	part, _, end := bytes.Cut(rest, []byte{0})
	if !found || !end {
		return h, errors.New("the plan has no part for the helper")
	}
	return h, json.Unmarshal(part, &h)
}

func help(plan io.ReadCloser, tell io.Writer, ready io.Reader) error {
	h, err := readHelperPlan(plan)
	plan.Close()
	if err != nil {
		return err
	}
	output, err := takeOutput(h.Dir)
	if err != nil {
		return err
	}
	root, err := mountOverlay(h.Dir, h.Spec.Lower)
	if err != nil {
		return err
	}
	who, err := imageUser(root, h.Spec.User)
	if err != nil {
		return err
	}
	config, err := containerConfig(h, root, who)
	if err != nil {
		return err
	}
	c, err := libcontainer.Create(filepath.Join(h.Dir, containerDir), "task", config)
	if err != nil {
		return fmt.Errorf("container: %w", err)
	}
	p := &libcontainer.Process{
		Args: h.Spec.Argv, Env: h.Spec.Env, Cwd: h.Spec.WorkDir, Init: true,
		UID: who.uid, GID: who.gid, AdditionalGroups: who.groups,
		Stdin: os.Stdin, Stdout: output[0], Stderr: output[1],
	}
	if err := c.Start(p); err != nil {
		_ = c.Destroy()
		// What fails in the container's first process arrives as text. This is
		// how looking for the program fails, and that is the spec's fault.
		if _, program, ok := strings.Cut(err.Error(), `exec: "`); ok {
			return fmt.Errorf(`command "%s`, program)
		}
		return err
	}
	if err := release(c, p, tell, ready); err != nil {
		_ = c.Destroy()
		return err
	}
	return nil
}

// release lets the container's program go once its pid is on disk.
func release(c *libcontainer.Container, p *libcontainer.Process, tell io.Writer, ready io.Reader) error {
	pid, err := p.Pid()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(tell, "P%d\n", pid); err != nil {
		return err
	}
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		return fmt.Errorf("the shim is gone: %w", err)
	}
	return c.Exec()
}

// takeOutput keeps the task's streams for the task: what this process itself
// has to say goes to a file of the run directory.
func takeOutput(dir string) ([2]*os.File, error) {
	var streams [2]*os.File
	for i := range streams {
		fd, err := unix.FcntlInt(uintptr(i+1), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return streams, err
		}
		streams[i] = os.NewFile(uintptr(fd), "output")
	}
	own, err := os.OpenFile(filepath.Join(dir, "helper.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return streams, err
	}
	defer own.Close()
	for fd := 1; fd <= 2; fd++ {
		if err := unix.Dup3(int(own.Fd()), fd, 0); err != nil {
			return streams, err
		}
	}
	return streams, nil
}
