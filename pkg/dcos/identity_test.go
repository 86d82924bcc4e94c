package dcos

import (
	"errors"
	"strings"
	"testing"
)

func TestIdentityIsReadBackFromItsURI(t *testing.T) {
	t.Parallel()
	for _, id := range []Identity{
		MasterIdentity("c1", 0xa1), MasterIdentity("c1", 1<<63), AgentIdentity("c-1.x", "node-7"),
	} {
		got, err := ParseIdentity(id.String())
		if err != nil || got != id {
			t.Errorf("ParseIdentity(%s) = %v, %v", id, got, err)
		}
	}
	if m, ok := MasterIdentity("c", 77).Master(); !ok || m != 77 {
		t.Errorf("master number = %d, %v, want 77", m, ok)
	}
	if _, ok := AgentIdentity("c", "77").Master(); ok {
		t.Error("an agent's identity has a master's number")
	}
}

func TestIdentityOfAnotherFormIsRefused(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{
		"", "dcos://", "dcos://c/agent", "dcos://c/agent/", "dcos://c/admin/n", "dcos:///agent/n", "http://c/agent/n",
		"dcos://c/agent/n/x", "dcos://c/agent/a b", "dcos://c/agent/../n", "dcos://c/agent/" + strings.Repeat("n", 65),
		"dcos://c/master/1", "dcos://c/master/0000000000000000", "dcos://c/master/00000000000000AB", "dcos://c/agent/n\x00",
	} {
		if id, err := ParseIdentity(uri); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseIdentity(%q) = %v, %v, want ErrInvalid", uri, id, err)
		}
	}
}
