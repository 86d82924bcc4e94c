package auth

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// servingLook is how often the files of a serving certificate are looked at.
const servingLook = 10 * time.Second

// Serving is the certificate of the API port: the operator's files, taken anew
// when they change, or one by the cluster's CA, made anew when two thirds of
// its life are over. It may be used by many goroutines at once.
type Serving struct {
	// load makes the next version; it gives now back when there is none.
	load func(now *tls.Certificate) (*tls.Certificate, error)
	log  *slog.Logger
	cert atomic.Pointer[tls.Certificate]

	mu     sync.Mutex // held by the one handshake that looks; the others go on
	looked time.Time  // guarded by mu
}

// ServeFiles takes the certificate (PEM, chain included) and key from files.
func ServeFiles(certFile, keyFile string, log *slog.Logger) (*Serving, error) {
	var seen string // marks of the files that are in use
	return serve(log, func(now *tls.Certificate) (*tls.Certificate, error) {
		var mark string
		for _, name := range []string{certFile, keyFile} {
			st, err := os.Stat(name)
			if err != nil {
				return nil, fmt.Errorf("serving certificate: %w", err)
			}
			mark += fmt.Sprint(st.ModTime().UnixNano(), " ", st.Size(), " ")
		}
		if mark == seen {
			return now, nil
		}
		c, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: serving certificate %s with key %s: %w", dcos.ErrInvalid, certFile, keyFile, err)
		}
		seen = mark
		return &c, nil
	})
}

// ServeCA lets issue make the certificate, such as CA.IssueServing does.
func ServeCA(issue func(now time.Time) (*tls.Certificate, error), log *slog.Logger) (*Serving, error) {
	return serve(log, func(cert *tls.Certificate) (*tls.Certificate, error) {
		now := time.Now()
		if cert != nil && now.Before(RenewAt(cert.Leaf)) {
			return cert, nil
		}
		c, err := issue(now)
		if err != nil {
			return nil, fmt.Errorf("serving certificate: %w", err)
		}
		return c, nil
	})
}

func serve(log *slog.Logger, load func(*tls.Certificate) (*tls.Certificate, error)) (*Serving, error) {
	c, err := load(nil)
	if err != nil {
		return nil, err
	}
	s := &Serving{load: load, log: log, looked: time.Now()}
	s.cert.Store(c)
	return s, nil
}

// Certificate is the present one, for tls.Config.GetCertificate. A new version
// that is damaged is logged, and the old one served on.
func (s *Serving) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.mu.TryLock() {
		s.look()
		s.mu.Unlock()
	}
	return s.cert.Load(), nil
}

// look takes over a new version; mu is held.
func (s *Serving) look() {
	if time.Since(s.looked) < servingLook {
		return
	}
	s.looked = time.Now()
	old := s.cert.Load()
	c, err := s.load(old)
	switch {
	case err != nil:
		s.log.Warn("new serving certificate not usable, the old one is served on", "error", err)
	case c != old:
		s.cert.Store(c)
		s.log.Info("serving certificate changed", "ends", c.Leaf.NotAfter)
	}
}
