// Package cli is the command tree.
//
// It owns flags, words, tables, prompts and exit codes. It promises that
// standard output holds data and standard error everything else, that --json
// prints what the API answered, and that an error says what to do next. It must
// not decide anything about the cluster: it asks the API like any other client,
// or hands a configuration to pkg/node.
package cli

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Env is everything that a command may touch of its surroundings, so that each
// command can be run as a function by tests.
type Env struct {
	Args    []string // without the program's name
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	Environ []string
	Home    string // of the user; "" when it is not known
	// TTY says that a person looks at Out and can answer at In.
	TTY bool
	// Width of the terminal in columns; 0 is no limit.
	Width int
}

// FromOS is the environment of this process.
func FromOS() *Env {
	home, _ := os.UserHomeDir() // "" is handled where it matters
	e := &Env{Args: os.Args[1:], In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), Home: home}
	out := int(os.Stdout.Fd())
	if term.IsTerminal(out) && term.IsTerminal(int(os.Stdin.Fd())) && e.Get("TERM") != "dumb" {
		e.TTY = true
		if w, _, err := term.GetSize(out); err == nil {
			e.Width = w
		}
	}
	return e
}

// Get is an environment variable, "" when it is not set.
func (e *Env) Get(name string) string {
	for i := len(e.Environ) - 1; i >= 0; i-- {
		if k, v, _ := strings.Cut(e.Environ[i], "="); k == name {
			return v
		}
	}
	return ""
}
