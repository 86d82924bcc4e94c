package auth

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
)

func TestSealedTextOpensForItsClusterAndPurposeOnly(t *testing.T) {
	t.Parallel()
	s, other := freshSecrets(t), freshSecrets(t)
	sealed, err := s.Seal("keys", []byte("canary-of-a-secret"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("canary")) {
		t.Error("the sealed text can be read")
	}
	if got, err := s.Open("keys", sealed); err != nil || string(got) != "canary-of-a-secret" {
		t.Errorf("Open = %q, %v", got, err)
	}
	damaged := bytes.Clone(sealed)
	damaged[len(damaged)/2] ^= 1
	for name, err := range map[string]error{
		"another cluster": second(other.Open("keys", sealed)),
		"another purpose": second(s.Open("tokens", sealed)),
		"damaged":         second(s.Open("keys", damaged)),
		"cut":             second(s.Open("keys", sealed[:5])),
		"empty":           second(s.Open("keys", nil)),
	} {
		if !errors.Is(err, dcos.ErrInvalid) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestGossipKeysTravelSealedAndInTheirOrder(t *testing.T) {
	t.Parallel()
	s := freshSecrets(t)
	keys := [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}
	ring, err := s.SealGossip(7, dcos.GossipSpread, keys, rand.Reader)
	if err != nil || ring.Serial != 7 || ring.Step != dcos.GossipSpread || ring.Keys[0] != dcos.KeyFingerprint(keys[0]) {
		t.Fatalf("row %+v, %v", ring, err)
	}
	got, err := s.OpenGossip(&ring)
	if err != nil || !slices.EqualFunc(got, keys, bytes.Equal) {
		t.Errorf("opened %d keys, %v", len(got), err)
	}
	if _, err := s.SealGossip(8, dcos.GossipSettled, [][]byte{{1}}, rand.Reader); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("short key: %v", err)
	}
	if _, err := s.WithGossip(8, nil); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("no keys: %v", err)
	}
}

func TestMembersGetTheGossipKeysAndOthersDoNot(t *testing.T) {
	t.Parallel()
	j := serveJoins(t, JoinConfig{})
	next, err := j.secrets.WithGossip(5, [][]byte{bytes.Repeat([]byte{9}, 32), j.secrets.Gossip[0]})
	if err != nil {
		t.Fatal(err)
	}
	j.secrets = next
	issue := func(id dcos.NodeID) *link.Credentials {
		c, err := j.secrets.CA.Issue(dcos.AgentIdentity("c1", id), nil, time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	keys, serial, err := GossipKeys(t.Context(), j.addr, issue("old"))
	if err != nil || serial != 5 || !slices.EqualFunc(keys, next.Gossip, bytes.Equal) {
		t.Errorf("a member got %d keys of number %d, %v", len(keys), serial, err)
	}
	if _, _, err := GossipKeys(t.Context(), j.addr, issue("removed")); !errors.Is(err, dcos.ErrDenied) {
		t.Errorf("a machine that was removed: %v, want ErrDenied", err)
	}
	tok := j.rows.addToken(t, dcos.RoleAgent, j.secrets)
	req := JoinRequest{Version: 1, Role: dcos.RoleAgent, ID: "old", Keys: true}
	if _, err := AdmitJoin(j.rows, "c1", req, dcos.Identity{}); !errors.Is(err, dcos.ErrDenied) {
		t.Errorf("a stranger: %v, want ErrDenied", err)
	}
	req.Token, req.Secret = tok.id, tok.secret
	if _, err := AdmitJoin(j.rows, "c1", req, dcos.AgentIdentity("c1", "old")); !errors.Is(err, dcos.ErrDenied) {
		t.Errorf("with a token: %v, want ErrDenied", err)
	}
	other := freshSecrets(t)
	foreign, err := other.CA.Issue(dcos.AgentIdentity("c1", "old"), nil, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := GossipKeys(t.Context(), j.addr, foreign); err == nil {
		t.Error("a machine with a certificate of another CA got the keys")
	}
}
