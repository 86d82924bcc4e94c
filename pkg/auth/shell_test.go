package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
)

func TestNoSecretIsPrinted(t *testing.T) {
	t.Parallel()
	s := newSecrets(t, "c1", epoch, &counter{})
	tok, row, err := NewToken(dcos.RoleMaster, caHash(s), &counter{n: 60})
	if err != nil {
		t.Fatal(err)
	}
	cr, err := s.CA.Issue(dcos.MasterIdentity("c1", 1), nil, epoch, &counter{n: 80})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := EncodeSecrets(s)
	req := JoinRequest{Token: tok.id, Secret: tok.secret, Role: dcos.RoleMaster}
	answer := JoinAnswer{Cluster: "c1", Gossip: s.Gossip, Secrets: text}
	joined := &Joined{Credentials: cr, Gossip: s.Gossip, Secrets: s}

	var canaries []string
	key, _ := s.CA.key.Bytes()
	for _, secret := range [][]byte{tok.secret, s.Gossip[0], s.Signing[0].Seed(), key, text} {
		head := secret[:12]
		dec := strings.Trim(fmt.Sprintf("%d", head), "[]")
		canaries = append(canaries, string(head), hex.EncodeToString(head), strings.ToUpper(hex.EncodeToString(head)), tokenText.EncodeToString(head), dec, strings.ReplaceAll(fmt.Sprintf("%#v", head)[7:], "}", ""))
	}
	canaries = append(canaries, s.CA.key.D.String()[:16]) //nolint:staticcheck // the test looks for what %v would print
	type holder struct {
		S *Secrets
		C *CA
		T Token
		R JoinRequest
		A JoinAnswer
		J *Joined
		L *link.Credentials
	}
	all := holder{s, s.CA, tok, req, answer, joined, cr}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "secrets", s, "ca", s.CA, "token", tok, "request", req, "answer", answer, "joined", joined, "credentials", cr, "all", all)
	}
	prints := []string{log.String()}
	for _, v := range []any{s, s.CA, tok, req, answer, joined, cr, all} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		prints = append(prints, string(b))
	}
	for _, v := range []any{s, s.CA, tok, &tok, req, &req, answer, joined, cr, all, &all, []any{s, tok}} {
		prints = append(prints, fmt.Sprintf("%v", v), fmt.Sprintf("%+v", v), fmt.Sprintf("%s", v), fmt.Sprintf("%#v", v))
	}
	// What a user row prints is the concern of dcos; the row of a token holds a hash only.
	prints = append(prints, fmt.Sprintf("%+v", row))
	for _, p := range prints {
		for _, c := range canaries {
			if strings.Contains(p, c) {
				t.Errorf("a secret (%.16q) is printed in %.400q", c, p)
			}
		}
	}
	if !strings.Contains(log.String(), "secrets of cluster c1") {
		t.Errorf("the log does not name the secrets: %s", log.String())
	}
}

func TestSecretsAreStoredForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "auth")
	s := freshSecrets(t)
	cr, err := s.CA.Issue(dcos.AgentIdentity("c1", "n1"), nil, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSecrets(dir); !errors.Is(err, dcos.ErrNotFound) {
		t.Errorf("secrets of an empty directory: %v, want ErrNotFound", err)
	}
	if _, err := LoadCredentials(dir, dcos.RoleAgent); !errors.Is(err, dcos.ErrNotFound) {
		t.Errorf("credentials of an empty directory: %v, want ErrNotFound", err)
	}
	// A file that was left by a crash in the middle does not stand in the way.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, secretsFile+".new"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := errors.Join(SaveSecrets(dir, s), SaveCredentials(dir, cr)); err != nil {
			t.Fatal(err)
		}
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if st, _ := e.Info(); st.Mode().Perm() != 0o600 || strings.HasSuffix(e.Name(), ".new") {
			t.Errorf("%s has mode %v", e.Name(), st.Mode())
		}
	}
	back, err := LoadSecrets(dir)
	if err != nil || back.CA.Cluster() != "c1" {
		t.Errorf("LoadSecrets = %v, %v", back, err)
	}
	if c, err := LoadCredentials(dir, dcos.RoleAgent); err != nil || c.Self != cr.Self {
		t.Errorf("LoadCredentials = %v, %v", c, err)
	}
	path := filepath.Join(dir, secretsFile)
	must(t, os.Chmod(path, 0o640))
	if _, err := LoadSecrets(dir); !errors.Is(err, dcos.ErrInvalid) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("secrets that a group may read: %v", err)
	}
	must(t, os.Chmod(path, 0o600))
	whole, _ := os.ReadFile(path)
	must(t, os.WriteFile(path, whole[:len(whole)-40], 0o600))
	if _, err := LoadSecrets(dir); !errors.Is(err, dcos.ErrInvalid) || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged secrets: %v, want the file's name", err)
	}
	must(t, os.Rename(filepath.Join(dir, "agent.pem"), filepath.Join(dir, "master.pem")))
	if _, err := LoadCredentials(dir, dcos.RoleMaster); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("agent's certificate as a master's: %v", err)
	}
}

func TestKeeperRenewsInTimeAndTriesAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := freshSecrets(t)
		id := dcos.AgentIdentity("c1", "n1")
		first, err := s.CA.Issue(id, nil, time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		k := NewKeeper(first, dir, slog.New(slog.DiscardHandler))
		var asked []time.Duration
		renew := func(context.Context) (*link.Credentials, error) {
			asked = append(asked, time.Since(begun))
			switch len(asked) {
			case 1:
				return nil, dcos.ErrUnavailable
			case 2: // a certificate of somebody else's key is not taken
				c, err := s.CA.Issue(id, nil, time.Now(), rand.Reader)
				if err == nil {
					c.Certificate.PrivateKey = first.Certificate.PrivateKey
				}
				return c, err
			}
			return s.CA.Issue(id, nil, time.Now(), rand.Reader)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx, renew) }()
		<-time.After(25 * 24 * time.Hour)
		synctest.Wait()
		if len(asked) != 3 || asked[0] < 19*24*time.Hour || asked[2] > 21*24*time.Hour {
			t.Errorf("asked after %v, want three times, from two thirds of 30 days on", asked)
		}
		now := k.Credentials()
		if now == first {
			t.Fatal("the certificate is still the first")
		}
		stored, err := LoadCredentials(dir, dcos.RoleAgent)
		if err != nil || !stored.Certificate.Leaf.Equal(now.Certificate.Leaf) {
			t.Errorf("stored certificate: %v, %v; want the one in use", stored, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writePair(t *testing.T, dir string, c *tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: key}), 0o600))
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: blockCert, Bytes: c.Certificate[0]}), 0o600))
	return certFile, keyFile
}

func TestServingCertificateFollowsItsFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := freshSecrets(t)
		issue := func() *tls.Certificate {
			c, err := s.CA.IssueServing([]string{"localhost"}, time.Now(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		a, b := issue(), issue()
		certFile, keyFile := writePair(t, dir, a)
		sv, err := ServeFiles(certFile, keyFile, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		is := func(want *tls.Certificate) bool {
			c, err := sv.Certificate(nil)
			return err == nil && bytes.Equal(c.Certificate[0], want.Certificate[0])
		}
		if !is(a) {
			t.Error("the first certificate is not served")
		}
		must(t, os.WriteFile(certFile, []byte("half a file"), 0o600))
		<-time.After(servingLook)
		if !is(a) {
			t.Error("a damaged new file replaced the good certificate")
		}
		writePair(t, dir, b)
		<-time.After(servingLook)
		if !is(b) {
			t.Error("the new certificate is not served")
		}
		must(t, os.Remove(keyFile))
		<-time.After(servingLook)
		if !is(b) {
			t.Error("a missing file took the certificate away")
		}
		if _, err := ServeFiles(certFile, keyFile, nil); err == nil {
			t.Error("started without a key file")
		}
	})
}

func TestServingCertificateByTheCAIsMadeAnewInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := freshSecrets(t)
		sv, err := ServeCA(func(now time.Time) (*tls.Certificate, error) {
			return s.CA.IssueServing([]string{"localhost", "127.0.0.1"}, now, rand.Reader)
		}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		first, _ := sv.Certificate(nil)
		<-time.After(50 * 24 * time.Hour)
		if c, _ := sv.Certificate(nil); c != first {
			t.Error("made anew before its time")
		}
		<-time.After(15 * 24 * time.Hour)
		second, _ := sv.Certificate(nil)
		if second == first {
			t.Error("not made anew")
		}
		roots := x509.NewCertPool()
		roots.AddCert(s.CA.Cert())
		for _, host := range []string{"localhost", "127.0.0.1"} {
			if _, err := second.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: time.Now()}); err != nil {
				t.Errorf("a browser at %s: %v", host, err)
			}
		}
	})
}

func FuzzParseToken(f *testing.F) {
	s := newSecrets(f, "c1", epoch, &counter{})
	tok, _, err := NewToken(dcos.RoleAgent, caHash(s), &counter{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tok.Reveal())
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseToken(text)
		if err != nil {
			if !errors.Is(err, dcos.ErrInvalid) {
				t.Fatalf("ParseToken(%q) = %v", text, err)
			}
			return
		}
		if got.Reveal() != strings.TrimSpace(text) {
			t.Fatalf("ParseToken(%q) reads as %q", text, got.Reveal())
		}
	})
}

func FuzzBearer(f *testing.F) {
	s := newSecrets(f, "c1", epoch, &counter{})
	good, err := IssueBearer(s, &dcos.User{ID: "eve"}, epoch, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("eyJhbGciOiJub25lIn0.eyJ1aWQiOiJhZG1pbiJ9.")
	f.Fuzz(func(t *testing.T, token string) {
		b, err := verifyBearer(s, token, epoch)
		if err == nil && (b.user != "eve" || token != good) {
			t.Fatalf("verifyBearer(%q) = %+v", token, b)
		}
		if err != nil && !errors.Is(err, dcos.ErrUnauthenticated) {
			t.Fatalf("verifyBearer(%q) = %v", token, err)
		}
	})
}

func FuzzJoinRequest(f *testing.F) {
	s := newSecrets(f, "c1", epoch, &counter{})
	tok, row, err := NewToken(dcos.RoleAgent, caHash(s), &counter{})
	if err != nil {
		f.Fatal(err)
	}
	r := newRows()
	r.tokens[row.ID] = &row
	key, _ := NewKey(&counter{n: 5})
	csr, _ := NewCSR(key)
	var b bytes.Buffer
	if err := writeJoin(&b, JoinRequest{Version: 1, Token: tok.id, Secret: tok.secret, Role: dcos.RoleAgent, ID: "n1", CSR: csr, Hosts: []string{"h"}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{0, 0, 0, 1, 0xa0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var req JoinRequest
		if readJoin(bytes.NewReader(b), &req) != nil {
			return
		}
		id, err := AdmitJoin(r, "c1", req, dcos.Identity{})
		if err != nil {
			return
		}
		if !bytes.Equal(req.Secret, tok.secret) || id.Check() != nil || id.Role != dcos.RoleAgent {
			t.Fatalf("admitted %v as %v", req, id)
		}
		if a, err := AnswerJoin(s, r, req, id, epoch, &counter{}); err == nil && a.Secrets != nil {
			t.Fatal("an agent got the masters' secrets")
		}
	})
}

func FuzzJoinAnswer(f *testing.F) {
	s := newSecrets(f, "c1", epoch, &counter{})
	key, _ := NewKey(&counter{n: 5})
	req := JoinRequest{Version: 1, Role: dcos.RoleMaster, ID: "0000000000000002"}
	req.CSR, _ = NewCSR(key)
	id := dcos.MasterIdentity("c1", 2)
	a, err := AnswerJoin(s, newRows(), req, id, epoch, &counter{})
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if err := writeJoin(&b, a); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		var a JoinAnswer
		if readJoin(bytes.NewReader(b), &a) != nil || a.refused() != nil {
			return
		}
		if j, err := a.take(req, key, dcos.MasterIdentity("c1", 1), epoch); err == nil && (j.Credentials.Self != id || j.Secrets == nil) {
			t.Fatalf("took %v", j)
		}
	})
}

func FuzzCSR(f *testing.F) {
	s := newSecrets(f, "c1", epoch, &counter{})
	key, _ := NewKey(&counter{n: 5})
	csr, _ := NewCSR(key)
	f.Add(csr)
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := s.CA.Sign(der, dcos.AgentIdentity("c1", "n1"), nil, epoch, &counter{})
		if err != nil {
			if !errors.Is(err, dcos.ErrInvalid) {
				t.Fatalf("Sign(%x) = %v", der, err)
			}
			return
		}
		if cert.IsCA || len(cert.URIs) != 1 || len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses) != 0 {
			t.Fatalf("Sign(%x) gave a certificate for %v %v", der, cert.URIs, cert.DNSNames)
		}
	})
}

func FuzzPEM(f *testing.F) {
	s := newSecrets(f, "c1", epoch, &counter{})
	text, _ := EncodeSecrets(s)
	f.Add(text)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := DecodeSecrets(b); err == nil && (got.CA.Cluster() == "" || len(got.Signing) == 0 || len(got.Gossip) == 0) {
			t.Fatal("incomplete secrets were accepted")
		} else if err != nil && !errors.Is(err, dcos.ErrInvalid) {
			t.Fatal(err)
		}
		if _, err := DecodeCredentials(b); err != nil && !errors.Is(err, dcos.ErrInvalid) {
			t.Fatal(err)
		}
	})
}

func FuzzPasswordHash(f *testing.F) {
	f.Add(hashed())
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err == nil && (h.memory > maxArgonMemory || h.time > maxArgonTime || h.threads > maxArgonThreads || len(h.key) > maxArgonKey) {
			t.Fatalf("parsePHC(%q) is above the bounds: %+v", s, h)
		}
	})
}
