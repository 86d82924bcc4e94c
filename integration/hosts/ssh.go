package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// runLimit bounds a Run whose context has no deadline.
const runLimit = 2 * time.Minute

// ExitError is a command that ran on a host and did not return 0.
type ExitError struct {
	Host, Command string
	Code          int // 255 when a signal ended it
	Stderr        string
}

func (e *ExitError) Error() string {
	text := strings.TrimSpace(e.Stderr)
	if len(text) > 1000 {
		text = "... " + text[len(text)-1000:]
	}
	return fmt.Sprintf("%s: %s: exit code %d: %s", e.Host, e.Command, e.Code, text)
}

// sshConn is one connection to a boot of a host, used by many sessions.
type sshConn struct {
	client *ssh.Client
	once   sync.Once
}

func (c *sshConn) close() { c.once.Do(func() { _ = c.client.Close() }) }

// Run runs a command on the host over ssh, as root, with its words as given
// (no shell splits them: for a shell, say "sh", "-c", text). An exit code that
// is not 0 is an *ExitError. Without a deadline in ctx it has two minutes.
func (h *Host) Run(ctx context.Context, command ...string) (stdout, stderr string, err error) {
	return h.RunInput(ctx, nil, command...)
}

// RunInput is Run with standard input.
func (h *Host) RunInput(ctx context.Context, input io.Reader, command ...string) (stdout, stderr string, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, runLimit)
		defer cancel()
	}
	line := quote(command)
	fail := func(err error) error { return fmt.Errorf("%s: ssh %s: %w", h.opt.Name, line, err) }
	session, conn, err := h.session(ctx)
	if err != nil {
		return "", "", fail(err)
	}
	defer session.Close()
	// A silent host never answers: the end of ctx closes the connection,
	// which ends every wait on it.
	stop := context.AfterFunc(ctx, conn.close)
	defer stop()
	var out, errOut bytes.Buffer
	session.Stdout, session.Stderr, session.Stdin = &out, &errOut, input
	err = session.Run(line)
	var exit *ssh.ExitError
	switch {
	case ctx.Err() != nil:
		err = fail(ctx.Err())
	case errors.As(err, &exit):
		err = &ExitError{Host: h.opt.Name, Command: line, Code: exit.ExitStatus(), Stderr: errOut.String()}
	case err != nil:
		err = fail(err)
	}
	return out.String(), errOut.String(), err
}

// session opens a session, on the connection of the last one when that lives.
func (h *Host) session(ctx context.Context) (*ssh.Session, *sshConn, error) {
	h.mu.Lock()
	old := h.conn
	h.mu.Unlock()
	if old != nil {
		stop := context.AfterFunc(ctx, old.close)
		s, err := old.client.NewSession()
		stop()
		if err == nil {
			return s, old, nil
		}
		old.close()
	}
	fresh, err := h.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	h.mu.Lock()
	if h.conn == nil || h.conn == old {
		h.conn = fresh
		h.mu.Unlock()
	} else { // another caller was faster
		winner := h.conn
		h.mu.Unlock()
		fresh.close()
		fresh = winner
	}
	s, err := fresh.client.NewSession()
	return s, fresh, err
}

func (h *Host) dial(ctx context.Context) (*sshConn, error) {
	key, err := os.ReadFile(h.net.root.KeyFile)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		return nil, err
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.net.root.HostKey))
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort(h.IP(), "22")
	raw, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if until, ok := ctx.Deadline(); ok {
		_ = raw.SetDeadline(until)
	}
	conn, channels, requests, err := ssh.NewClientConn(raw, addr, &ssh.ClientConfig{
		User:              "root",
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   ssh.FixedHostKey(hostKey),
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	_ = raw.SetDeadline(time.Time{})
	return &sshConn{client: ssh.NewClient(conn, channels, requests)}, nil
}

// quote makes one line of words that a POSIX shell splits into the same words.
func quote(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if w == "" || strings.ContainsFunc(w, special) {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

func special(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,+@", r))
}
