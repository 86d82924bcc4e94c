package hosts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// pid1 is the first process of a host, in its new namespaces, waiting to be
// told what to become.
type pid1 struct {
	pid    int
	done   chan struct{} // closed when it has ended and is reaped
	config *os.File
	errors *os.File
	cmd    *exec.Cmd
}

// startPID1 starts it. Should this process end, even by SIGKILL, the kernel
// kills it, and all of the host with it.
func startPID1(console string) (*pid1, error) {
	log, err := os.OpenFile(console, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	configRead, configWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer configRead.Close()
	errorRead, errorWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, configWrite.Close())
	}
	defer errorWrite.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{initName}, Env: []string{},
		Stdout: log, Stderr: log, ExtraFiles: []*os.File{configRead, errorWrite},
		SysProcAttr: &syscall.SysProcAttr{
			Setsid:    true,
			Pdeathsig: syscall.SIGKILL,
			Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS |
				syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
		},
	}
	p := &pid1{done: make(chan struct{}), config: configWrite, errors: errorRead, cmd: cmd}
	started := make(chan error)
	go func() {
		// Pdeathsig is sent when the *thread* that started it ends: this one
		// belongs to the goroutine, and both end when PID 1 has.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start PID 1: %w", err), configWrite.Close(), errorRead.Close())
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

// run tells it what to become and returns when that is systemd.
func (p *pid1) run(c initConfig) error {
	defer p.errors.Close()
	err := json.NewEncoder(p.config).Encode(c)
	if err := errors.Join(err, p.config.Close()); err != nil {
		return fmt.Errorf("tell PID 1: %w", err)
	}
	if err := p.errors.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(p.errors, 1<<16))
	if err != nil {
		return fmt.Errorf("wait for PID 1: %w", err)
	}
	if len(text) > 0 {
		return fmt.Errorf("PID 1: %s", text)
	}
	return nil
}

// kill may be called before run, which is then never.
func (p *pid1) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.config.Close()
	_ = p.errors.Close()
}
