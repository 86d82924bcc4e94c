package container

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/moby/sys/user"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// identity is who a task runs as.
type identity struct {
	uid, gid int
	groups   []int
	home     string
}

// maxID is the highest user or group id taken; above it are overflow tricks.
const maxID = 1<<31 - 1

// resolve finds "user", "uid", "user:group" or "uid:gid" in passwd and group
// files, which may be a stranger's: both are read to a limit.
func resolve(name string, passwd, group io.Reader) (identity, error) {
	for _, part := range strings.SplitN(name, ":", 2) {
		if n, err := strconv.ParseUint(part, 10, 64); err == nil && n > maxID {
			return identity{}, fmt.Errorf("%w: user %q: ids go up to %d", dcos.ErrInvalid, name, maxID)
		}
	}
	const limit = 8 << 20
	u, err := user.GetExecUser(name, &user.ExecUser{Home: "/"}, io.LimitReader(passwd, limit), io.LimitReader(group, limit))
	if err != nil {
		return identity{}, fmt.Errorf("%w: user %q is not known where the task runs (%w): name one that is, or a number", dcos.ErrInvalid, name, err)
	}
	if u.Uid < 0 || u.Gid < 0 || u.Uid > maxID || u.Gid > maxID || len(u.Sgids) > 64 {
		return identity{}, fmt.Errorf("%w: user %q: uid %d, gid %d and %d groups, expected ids up to %d and 64 groups", dcos.ErrInvalid, name, u.Uid, u.Gid, len(u.Sgids), maxID)
	}
	return identity{uid: u.Uid, gid: u.Gid, groups: u.Sgids, home: u.Home}, nil
}
