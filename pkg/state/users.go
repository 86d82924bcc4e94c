package state

import (
	"fmt"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// maxName bounds the short texts of rows: ids, names, addresses.
const maxName = 512

func (x *txn) putUser(c PutUser) error {
	u := c.User
	old, exists := x.t.users.Get(u.ID)
	switch {
	case u.ID == "" || len(u.ID) > maxName || len(u.PasswordHash) > maxName:
		return fmt.Errorf("%w: a user's id and password hash have 1 to %d bytes", dcos.ErrInvalid, maxName)
	case c.Create && exists:
		return fmt.Errorf("%w: user %s exists already", dcos.ErrConflict, u.ID)
	}
	u.CreatedAt = x.t.time
	if exists {
		u.CreatedAt = old.CreatedAt
	}
	put(x, TableUsers, &x.t.users, u.ID, &u)
	return nil
}

func (x *txn) putToken(c PutToken) error {
	k := c.Token
	switch {
	case k.ID == "" || len(k.ID) > maxName || len(k.SecretHash) == 0 || len(k.SecretHash) > maxName:
		return fmt.Errorf("%w: a join token needs an id and the hash of its secret, of at most %d bytes each", dcos.ErrInvalid, maxName)
	case k.Role != dcos.RoleMaster && k.Role != dcos.RoleAgent:
		return fmt.Errorf("%w: join token %s: role %q, expected %s or %s", dcos.ErrInvalid, k.ID, k.Role, dcos.RoleMaster, dcos.RoleAgent)
	}
	k.CreatedAt = x.t.time
	if old, ok := x.t.tokens.Get(k.ID); ok {
		k.CreatedAt = old.CreatedAt
	}
	put(x, TableTokens, &x.t.tokens, k.ID, &k)
	return nil
}
