package auth

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// servingLook is how often the files of a serving certificate are looked at.
const servingLook = 10 * time.Second

// Serving is the certificate of the API port: the operator's files, taken anew
// when they change, or one by the cluster's CA, made anew when two thirds of
// its life are over. It may be used by many goroutines at once.
type Serving struct {
	load func() (*tls.Certificate, string, error) // with a mark of the version
	log  *slog.Logger

	mu     sync.Mutex
	cert   *tls.Certificate // guarded by mu
	mark   string           // guarded by mu
	looked time.Time        // guarded by mu
}

// ServeFiles takes the certificate (PEM, chain included) and key from files.
func ServeFiles(certFile, keyFile string, log *slog.Logger) (*Serving, error) {
	s := &Serving{log: log}
	s.load = func() (*tls.Certificate, string, error) {
		var mark string
		for _, name := range []string{certFile, keyFile} {
			st, err := os.Stat(name)
			if err != nil {
				return nil, "", fmt.Errorf("serving certificate: %w", err)
			}
			mark += fmt.Sprint(st.ModTime().UnixNano(), " ", st.Size(), " ")
		}
		if mark == s.mark {
			return s.cert, mark, nil
		}
		c, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, "", fmt.Errorf("%w: serving certificate %s with key %s: %w", dcos.ErrInvalid, certFile, keyFile, err)
		}
		return &c, mark, nil
	}
	return s, s.look()
}

// ServeCA lets issue make the certificate, such as CA.IssueServing does.
func ServeCA(issue func(now time.Time) (*tls.Certificate, error), log *slog.Logger) (*Serving, error) {
	s := &Serving{log: log}
	s.load = func() (*tls.Certificate, string, error) {
		now := time.Now()
		if s.cert != nil && now.Before(RenewAt(s.cert.Leaf)) {
			return s.cert, s.mark, nil
		}
		c, err := issue(now)
		if err != nil {
			return nil, "", fmt.Errorf("serving certificate: %w", err)
		}
		return c, c.Leaf.SerialNumber.String(), nil
	}
	return s, s.look()
}

// look takes over a new version. mu is held, or s is not shared yet.
func (s *Serving) look() error {
	c, mark, err := s.load()
	if err == nil {
		s.cert, s.mark = c, mark
	}
	s.looked = time.Now()
	return err
}

// Certificate is the present one, for tls.Config.GetCertificate. A new version
// that is damaged is logged, and the old one served on.
func (s *Serving) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.looked) >= servingLook {
		before := s.mark
		if err := s.look(); err != nil {
			s.log.Warn("new serving certificate not usable, the old one is served on", "error", err)
		} else if s.mark != before {
			s.log.Info("serving certificate changed", "ends", s.cert.Leaf.NotAfter)
		}
	}
	return s.cert, nil
}
