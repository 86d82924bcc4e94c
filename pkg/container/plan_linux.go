package container

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/sandbox"
)

// plan is what a shim is told: operations in the order they are done. Which
// there are, and which process does them, is the table in shim_linux.c.
type plan struct {
	text bytes.Buffer
	err  error
}

// add appends an operation. A NUL cannot be told to a kernel; it is refused.
func (p *plan) add(words ...string) {
	for _, w := range words {
		if strings.ContainsRune(w, 0) && p.err == nil {
			p.err = fmt.Errorf("%w: %s contains a NUL byte", dcos.ErrInvalid, words[0])
		}
		p.text.WriteString(w)
		p.text.WriteByte(0)
	}
}

func (p *plan) mount(source, target, kind string, flags uintptr, data string) {
	p.add("mount", source, target, kind, strconv.FormatUint(uint64(flags), 10), data)
}

// planCommon is the part that every kind of task has.
func (r *Runtime) planCommon(p *plan, dir string, s dcos.Spec) {
	size, count := sandbox.Segments(s.Limits.LogBytes)
	for _, file := range r.shimProcs {
		p.add("shimcg", file)
	}
	p.add("run", dir)
	p.add("sandbox", s.Sandbox)
	p.add("log", strconv.FormatInt(size, 10), strconv.Itoa(count))
}

// program is the end of a plan that runs a program directly.
func (p *plan) program(s dcos.Spec) {
	for _, e := range s.Env {
		p.add("env", e)
	}
	for _, a := range s.Argv {
		p.add("arg", a)
	}
}

// maxPlan bounds a plan; environment and arguments of one program are bounded
// by the kernel at 2 MiB on usual machines.
const maxPlan = 4 << 20

// file puts the plan where only its reader sees it: it may hold secrets.
func (p *plan) file() (*os.File, error) {
	if p.err != nil {
		return nil, p.err
	}
	if p.text.Len() > maxPlan {
		return nil, fmt.Errorf("%w: command and environment of %d bytes, expected at most %d", dcos.ErrInvalid, p.text.Len(), maxPlan)
	}
	fd, err := unix.MemfdCreate("plan", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make plan: %w", err)
	}
	f := os.NewFile(uintptr(fd), "plan")
	if _, err = f.Write(p.text.Bytes()); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make plan: %w", err)
	}
	return f, nil
}
