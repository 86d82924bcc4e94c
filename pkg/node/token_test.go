package node

import (
	"crypto/rand"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
)

func TestATokenOfAnotherClusterIsRefusedOnAMachineThatHasJoined(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clusters := map[string]*auth.Secrets{}
	tokens := map[string]string{}
	for _, name := range []string{"own", "foreign"} {
		s, err := auth.NewSecrets(name, time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		creds, err := s.CA.Issue(dcos.AgentIdentity(name, "n-1"), nil, time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		token, _, err := auth.NewToken(dcos.RoleAgent, link.CAHash(creds.CA), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		clusters[name], tokens[name] = s, token.Reveal()
	}
	if err := CheckToken(dir, tokens["foreign"]); err != nil {
		t.Errorf("on a fresh machine: %v", err)
	}
	w := &workerFiles{dir: filepath.Join(dir, "agent"), id: "n-1"}
	own := &masterFiles{}
	own.held.Store(clusters["own"])
	if _, err := w.issue(own); err != nil {
		t.Fatal(err)
	}
	if err := CheckToken(dir, tokens["own"]); err != nil {
		t.Errorf("the cluster's own token: %v", err)
	}
	err := CheckToken(dir, tokens["foreign"])
	if !errors.Is(err, dcos.ErrConflict) || !strings.Contains(err.Error(), "cluster own") || !strings.Contains(err.Error(), "dcos uninstall") {
		t.Errorf("a foreign token: %v", err)
	}
}
