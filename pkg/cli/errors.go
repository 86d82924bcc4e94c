package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// told is an error in three parts for people: what went wrong, why, and what
// to do next. why and next may be "".
type told struct {
	what, why, next string
	err             error
}

// Error is all of it in one line.
func (t told) Error() string { return t.what }

// Unwrap gives the cause, which holds the kind.
func (t told) Unwrap() error { return t.err }

// explain splits an error into what, why and what to do next.
func explain(err error) told {
	var t told
	if errors.As(err, &t) {
		return t
	}
	refusal := &client.Error{}
	var cert *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &cert):
		return told{"the certificate of the cluster is not trusted", cert.Err.Error(), "attach the cluster anew, which asks for its CA: dcos cluster setup URL", err}
	case errors.As(err, &refusal):
		return refusedBy(err, refusal)
	case errors.As(err, &op) && op.Op == "dial":
		return told{"the cluster cannot be reached", op.Error(), "does it run? `dcos cluster list` shows its address, `dcos dev` starts one on this machine", err}
	case errors.Is(err, context.DeadlineExceeded):
		return told{strings.TrimSpace(err.Error()), "", "the work goes on; look again, or give more time with --timeout", err}
	}
	return told{what: strings.TrimSpace(err.Error()), err: err}
}

// refusedBy explains a server's refusal, each field in a line of its own.
func refusedBy(err error, e *client.Error) told {
	out := told{what: e.Message, next: e.Hint, err: err}
	var why []string
	for _, f := range e.Fields {
		why = append(why, f.Path+": "+strings.Join(f.Errors, ", "))
	}
	if len(e.Deployments) > 0 {
		why = append(why, "held by deployment "+strings.Join(e.Deployments, ", "))
		if out.next == "" {
			out.next = "wait for it (dcos marathon deployment list), or override it with --force"
		}
	}
	out.why = strings.Join(why, "\n     ")
	if errors.Is(err, dcos.ErrUnauthenticated) {
		out.next = "log in: dcos auth login"
	}
	return out
}

func printError(e *Env, err error) {
	t := explain(err)
	fmt.Fprintf(e.Err, "Error: %s\n", printable(t.what))
	if t.why != "" {
		fmt.Fprintf(e.Err, "Why: %s\n", printable(t.why))
	}
	if t.next != "" {
		fmt.Fprintf(e.Err, "Try: %s\n", printable(t.next))
	}
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintln(e.Err, "Run the command with --help to see how it is used.")
	}
}

// printable keeps what others wrote from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}

// interrupted says that a person ended the command; there is nothing to tell.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// exitInterrupted is what shells make of an interrupt.
const exitInterrupted = 130

// fileError gives an error of a file that the user named.
func fileError(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return usageError{err}
	}
	return err
}

// conflict is an error of that kind.
func conflict(what string) error {
	return fmt.Errorf("%s: %w", what, dcos.ErrConflict)
}
