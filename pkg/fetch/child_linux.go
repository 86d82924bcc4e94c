package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// childWord is argv[1] of a fetching process.
const childWord = "fetch-into-sandbox"

// sandboxFD is the sandbox in the fetching process; the files of its items
// follow.
const sandboxFD = 3

// maxPlan bounds what a fetching process is told.
const maxPlan = 8 << 20

// Init must be called early in main. It returns at once, unless this process
// was started to fetch: then it never returns.
func Init() {
	if len(os.Args) == 2 && os.Args[1] == childWord {
		os.Exit(child(os.Stdin, os.Stdout))
	}
}

// child does what the plan says. What goes wrong is part of its answer; its exit
// code tells only that there is one.
func child(in io.Reader, out io.Writer) int {
	// Others of the same user must not reach the cache's files by way of us.
	if err := errors.Join(unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0), unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); err != nil {
		return 1
	}
	unix.Umask(0o022)
	var p plan
	if err := json.NewDecoder(io.LimitReader(in, maxPlan)).Decode(&p); err != nil {
		return 1
	}
	o := outcome{}
	if err := carryOut(p, &o); err != nil {
		o.Error = err.Error()
		o.Kind = "unavailable"
		for word, kind := range kinds {
			if errors.Is(err, kind) {
				o.Kind = word
			}
		}
	}
	if err := json.NewEncoder(out).Encode(o); err != nil {
		return 1
	}
	return 0
}

func carryOut(p plan, o *outcome) error {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", sandboxFD))
	if err != nil {
		return fmt.Errorf("open the sandbox: %w", err)
	}
	defer root.Close()
	ctx, cancel := context.WithTimeoutCause(context.Background(), p.Limits.Time, fmt.Errorf("%w: not done after %s", dcos.ErrExhausted, p.Limits.Time))
	defer cancel()
	j := &job{plan: p, root: root, left: p.Limits.Bytes, leftUnpacked: p.Limits.Bytes, entries: p.Limits.Entries}
	j.client = j.newClient()
	for _, i := range p.Items {
		d, err := j.one(ctx, i)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("fetch %s: %w", shown(i.URI), err)
		}
		o.Items = append(o.Items, d)
	}
	return nil
}
