package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestSameRandomBytesMakeTheSameCluster(t *testing.T) {
	t.Parallel()
	a, err := EncodeSecrets(newSecrets(t, "c1", epoch, &counter{}))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := EncodeSecrets(newSecrets(t, "c1", epoch, &counter{}))
	c, _ := EncodeSecrets(newSecrets(t, "c1", epoch, &counter{n: 1000}))
	if !bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Errorf("secrets of one seed equal: %v, of two seeds equal: %v", bytes.Equal(a, b), bytes.Equal(a, c))
	}
}

func TestCertificateSaysOnlyWhatTheSignerKnows(t *testing.T) {
	t.Parallel()
	s := newSecrets(t, "c1", epoch, &counter{})
	key, err := NewKey(&counter{n: 77})
	if err != nil {
		t.Fatal(err)
	}
	// A request that asks for more than a key.
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"evil.example"}, EmailAddresses: []string{"a@b"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := s.CA.Sign(csr, dcos.AgentIdentity("c1", "n1"), []string{"master.example", "192.0.2.9"}, epoch, &counter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(agent.DNSNames)+len(agent.IPAddresses)+len(agent.EmailAddresses) != 0 || agent.IsCA {
		t.Errorf("agent's certificate names %v %v %v, CA %v; want no host and no CA", agent.DNSNames, agent.IPAddresses, agent.EmailAddresses, agent.IsCA)
	}
	if got := agent.URIs[0].String(); len(agent.URIs) != 1 || got != "dcos://c1/agent/n1" {
		t.Errorf("agent's certificate is for %s", got)
	}
	master, err := s.CA.Sign(csr, dcos.MasterIdentity("c1", 1), []string{"Master.example", "192.0.2.9", "::ffff:192.0.2.8"}, epoch, &counter{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(master.DNSNames, []string{"master.example"}) || len(master.IPAddresses) != 2 {
		t.Errorf("master's certificate names %v and %v", master.DNSNames, master.IPAddresses)
	}
	if !master.NotAfter.Equal(epoch.Add(nodeLife)) || !RenewAt(master).Before(master.NotAfter.Add(-9*24*time.Hour)) || !RenewAt(master).After(epoch.Add(19*24*time.Hour)) {
		t.Errorf("valid to %s, renewed at %s", master.NotAfter, RenewAt(master))
	}
	serving, err := s.CA.SignServing(csr, []string{"localhost"}, epoch, &counter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(serving.URIs) != 0 || slices.Contains(serving.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		t.Errorf("serving certificate has identity %v and usage %v", serving.URIs, serving.ExtKeyUsage)
	}
}

func TestCertificateNeverOutlivesItsCA(t *testing.T) {
	t.Parallel()
	s := newSecrets(t, "c1", epoch, &counter{})
	late := s.CA.cert.NotAfter.Add(-time.Hour)
	c, err := s.CA.Issue(dcos.MasterIdentity("c1", 1), nil, late, &counter{n: 5})
	if err != nil {
		t.Fatal(err)
	}
	if c.Certificate.Leaf.NotAfter.After(s.CA.cert.NotAfter) {
		t.Errorf("certificate to %s, CA to %s", c.Certificate.Leaf.NotAfter, s.CA.cert.NotAfter)
	}
	if _, err := s.CA.Issue(dcos.MasterIdentity("c1", 1), nil, s.CA.cert.NotAfter, &counter{n: 5}); !errors.Is(err, dcos.ErrUnavailable) {
		t.Errorf("certificate by an expired CA: %v", err)
	}
}

func TestBadRequestsGetNoCertificate(t *testing.T) {
	t.Parallel()
	s := newSecrets(t, "c1", epoch, &counter{})
	key, _ := NewKey(&counter{n: 3})
	good, err := NewCSR(key)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	ed, _ := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, edKey)
	p384Key, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p384, _ := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, p384Key)
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	agent := dcos.AgentIdentity("c1", "n1")
	for _, tt := range []struct {
		name  string
		csr   []byte
		id    dcos.Identity
		hosts []string
	}{
		{"empty", nil, agent, nil},
		{"junk", []byte("junk"), agent, nil},
		{"too long", make([]byte, maxCSR+1), agent, nil},
		{"other key kind", ed, agent, nil},
		{"other curve", p384, agent, nil},
		{"signature broken", forged, agent, nil},
		{"other cluster", good, dcos.AgentIdentity("c2", "n1"), nil},
		{"unknown role", good, dcos.Identity{Cluster: "c1", Role: "admin", ID: "x"}, nil},
		{"path in the id", good, dcos.AgentIdentity("c1", "../x"), nil},
		{"bad host", good, dcos.MasterIdentity("c1", 1), []string{"a b"}},
		{"wildcard host", good, dcos.MasterIdentity("c1", 1), []string{"*.example"}},
		{"too many hosts", good, dcos.MasterIdentity("c1", 1), make([]string, maxHosts+1)},
	} {
		if c, err := s.CA.Sign(tt.csr, tt.id, tt.hosts, epoch, &counter{}); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("%s: %v, %v, want ErrInvalid", tt.name, c, err)
		}
	}
	if _, err := NewCA("a/b", epoch, &counter{}); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("CA of a cluster named a/b: %v", err)
	}
}

func TestBrokenRandomnessMakesNoKey(t *testing.T) {
	t.Parallel()
	if _, err := NewKey(bytes.NewReader(make([]byte, 4096))); !errors.Is(err, dcos.ErrUnavailable) {
		t.Errorf("key of zeros: %v", err)
	}
	if _, err := NewKey(bytes.NewReader(nil)); err == nil {
		t.Error("key of no bytes")
	}
}

func TestSecretsAndCredentialsAreReadBackAndDamageIsSeen(t *testing.T) {
	t.Parallel()
	s := newSecrets(t, "c1", epoch, &counter{})
	cr, err := s.CA.Issue(dcos.AgentIdentity("c1", "n1"), nil, epoch, &counter{n: 9})
	if err != nil {
		t.Fatal(err)
	}
	stext, _ := EncodeSecrets(s)
	ctext, _ := EncodeCredentials(cr)
	back, err := DecodeSecrets(stext)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := EncodeSecrets(back); !bytes.Equal(again, stext) {
		t.Error("secrets changed on their way through PEM")
	}
	cback, err := DecodeCredentials(ctext)
	if err != nil || cback.Self != cr.Self {
		t.Fatalf("DecodeCredentials = %v, %v", cback, err)
	}
	other, _ := EncodeSecrets(newSecrets(t, "c1", epoch, &counter{n: 500}))
	block := func(b []byte, i int) string {
		return strings.SplitAfter(string(b), "-----\n")[2*i] + strings.SplitAfter(string(b), "-----\n")[2*i+1]
	}
	for name, text := range map[string]string{
		"empty": "", "text before": "x\n" + string(stext), "text behind": string(stext) + "x", "cut": string(stext[:len(stext)/2]),
		"key of another CA": block(stext, 0) + block(other, 1) + block(stext, 2) + block(stext, 3),
		"no gossip key":     block(stext, 0) + block(stext, 1) + block(stext, 2),
		"no token key":      block(stext, 0) + block(stext, 1) + block(stext, 3),
		"credentials":       string(ctext),
		"too long":          strings.Repeat(string(stext), 1000),
	} {
		if _, err := DecodeSecrets([]byte(text)); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("secrets, %s: %v, want ErrInvalid", name, err)
		}
	}
	if _, err := DecodeCredentials(stext); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("credentials out of secrets: %v, want ErrInvalid", err)
	}
}
