package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// endPatience is how long a child may take to end before it is killed.
const endPatience = 2 * time.Minute

// child is a process of this binary that a benchmark started.
type child struct {
	name string
	cmd  *exec.Cmd
	said tail
	done chan struct{} // closed when the process has ended
	err  error         // how it ended; set before done is closed
}

// tail is the file that a child writes what it says to. It is a file and not a
// pipe, so that a process that outlives the child keeps nobody waiting.
type tail string

const maxTail = 4 << 10

// String is the last few lines, for messages.
func (t tail) String() string {
	b, err := os.ReadFile(string(t))
	if err != nil {
		return "its words cannot be read: " + err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b[max(0, len(b)-maxTail):])), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

// start runs the binary with an environment of its own: what configures other
// clusters of the user has no effect, and what it writes stays below work.
func (b *bench) start(work string, env []string, args ...string) (*child, error) {
	c := &child{
		name: "dcos " + args[0], cmd: exec.CommandContext(context.Background(), b.binary, args...), // it is ended by stop
		said: tail(filepath.Join(work, args[0]+".log")), done: make(chan struct{}),
	}
	out, err := os.Create(string(c.said))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	defer out.Close() // the child has its own
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "DCOS_") {
			c.cmd.Env = append(c.cmd.Env, e)
		}
	}
	c.cmd.Env = append(append(c.cmd.Env, "HOME="+work, "TMPDIR="+work, "DCOS_DIR="+work+"/dcos"), env...)
	c.cmd.Dir = work
	c.cmd.Stdout, c.cmd.Stderr = out, out
	// A Ctrl-C at the terminal is for us; should we die, the child ends too.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	go func() { // ends with the process
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// ending says how a process that has ended did so.
func (c *child) ending() string {
	if c.err == nil {
		return "exit status 0"
	}
	return c.err.Error()
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop ends the process in the way an operator would.
func (c *child) stop() error {
	select {
	case <-c.done:
		return fmt.Errorf("%s ended by itself, %s: %s", c.name, c.ending(), c.said)
	default:
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have just ended
	select {
	case <-c.done:
		if c.err != nil {
			return fmt.Errorf("end %s: %w: %s", c.name, c.err, c.said)
		}
		return nil
	case <-time.After(endPatience):
		_ = c.cmd.Process.Kill() // it may have just ended
		<-c.done
		return fmt.Errorf("%s did not end within %s and was killed: %s", c.name, endPatience, c.said)
	}
}

// patience bounds each wait for something that a cluster does, on a machine that
// does much else: it ends what will never come, and measures nothing.
const patience = 5 * time.Minute

// oneAnswer is how long a process that may be gone is waited for before another
// one is asked.
const oneAnswer = 10 * time.Second

// await asks again and again until the answer is yes. It gives up when the
// answer is an error that does not pass by itself, a child ends, or after
// patience.
func await(ctx context.Context, what string, every time.Duration, children []*child, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		ok, err := ask()
		passes := errors.Is(err, dcos.ErrUnavailable) || errors.Is(err, dcos.ErrExhausted)
		if err != nil && !passes {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if ok && err == nil {
			return nil
		}
		for _, c := range children {
			select {
			case <-c.done:
				return fmt.Errorf("wait for %s: %s ended, %s: %s", what, c.name, c.ending(), c.said)
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %s", what, errors.Join(ctx.Err(), err), saidBy(children))
		case <-t.C:
		}
	}
}

func saidBy(children []*child) string {
	var out []string
	for _, c := range children {
		out = append(out, c.name+" says: "+c.said.String())
	}
	return strings.Join(out, "; ")
}
