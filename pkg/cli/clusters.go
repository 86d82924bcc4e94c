package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// clusters are the clusters that this user knows, in the layout that the DC/OS
// command line used (dcos-api section 1.3): DIR/clusters/<id>/dcos.toml, and an
// empty file "attached" beside the one in use.
type clusters struct{ dir string }

// cluster is one of them.
type cluster struct {
	ID       string
	Attached bool
	Name     string
	URL      string
	Token    string
	// SSLVerify is "true", "false" or the path of a CA bundle; "" is "true".
	SSLVerify string
	// Ephemeral marks what `dcos dev` wrote and removes at its end.
	Ephemeral bool
	// rest are the keys of the file that this version does not read. They are
	// kept.
	rest map[string]any
}

// maxClusterFile bounds a cluster's file.
const maxClusterFile = 1 << 20

// decodeCluster reads dcos.toml.
func decodeCluster(id string, b []byte) (cluster, error) {
	if len(b) > maxClusterFile {
		return cluster{}, fmt.Errorf("%w: %d bytes, expected at most %d", dcos.ErrInvalid, len(b), maxClusterFile)
	}
	doc := map[string]any{}
	if err := toml.Unmarshal(b, &doc); err != nil {
		return cluster{}, fmt.Errorf("%w: %w", dcos.ErrInvalid, err)
	}
	text := func(section, key string) string {
		switch v := tomlTable(doc, section)[key].(type) {
		case string:
			return v
		case bool: // the DC/OS command line wrote ssl_verify = false
			return strconv.FormatBool(v)
		}
		return ""
	}
	return cluster{
		ID: id, Name: text("cluster", "name"), URL: text("core", "dcos_url"), Token: text("core", "dcos_acs_token"),
		SSLVerify: text("core", "ssl_verify"), Ephemeral: text("core", "ephemeral") == "true", rest: doc,
	}, nil
}

func tomlTable(doc map[string]any, section string) map[string]any {
	t, _ := doc[section].(map[string]any)
	return t
}

// encode is the cluster's dcos.toml.
func (c cluster) encode() ([]byte, error) {
	doc := map[string]any{}
	maps.Copy(doc, c.rest)
	set := func(section, key string, value any, there bool) {
		t := maps.Clone(tomlTable(doc, section))
		if t == nil {
			t = map[string]any{}
		}
		if t[key] = value; !there {
			delete(t, key)
		}
		doc[section] = t
	}
	set("cluster", "name", c.Name, true)
	set("core", "dcos_url", c.URL, true)
	set("core", "dcos_acs_token", c.Token, c.Token != "")
	set("core", "ssl_verify", c.SSLVerify, c.SSLVerify != "")
	set("core", "ephemeral", c.Ephemeral, c.Ephemeral)
	b, err := toml.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode cluster %s: %w", c.ID, err)
	}
	return b, nil
}

func clustersOf(e *Env) (clusters, error) {
	if dir := e.Get("DCOS_DIR"); dir != "" {
		abs, err := filepath.Abs(dir)
		return clusters{abs}, err
	}
	if e.Home == "" {
		return clusters{}, errors.New("no home directory: set DCOS_DIR to a directory for the command line's files")
	}
	return clusters{filepath.Join(e.Home, ".dcos")}, nil
}

func (c clusters) path(id string, name ...string) string {
	return filepath.Join(append([]string{c.dir, "clusters", id}, name...)...)
}

// list gives all clusters in the order of their names. One that cannot be read
// is left out; the others stay usable.
func (c clusters) list() ([]cluster, error) {
	entries, err := os.ReadDir(filepath.Join(c.dir, "clusters"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	var out []cluster
	for _, entry := range entries {
		if one, err := c.read(entry.Name()); err == nil {
			out = append(out, one)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name+out[i].ID < out[j].Name+out[j].ID })
	if len(out) == 1 {
		out[0].Attached = true // a single one counts as attached
	}
	return out, nil
}

func (c clusters) read(id string) (cluster, error) {
	b, err := os.ReadFile(c.path(id, "dcos.toml"))
	if err != nil {
		return cluster{}, fmt.Errorf("read cluster %s: %w", id, err)
	}
	one, err := decodeCluster(id, b)
	if err != nil {
		return cluster{}, fmt.Errorf("read %s: %w", c.path(id, "dcos.toml"), err)
	}
	_, err = os.Stat(c.path(id, "attached"))
	one.Attached = err == nil
	return one, nil
}

// current is the cluster to talk to: the one named by DCOS_CLUSTER, or the
// attached one.
func (c clusters) current(e *Env) (cluster, error) {
	all, err := c.list()
	if err != nil {
		return cluster{}, err
	}
	if want := e.Get("DCOS_CLUSTER"); want != "" {
		return pick(all, want)
	}
	for _, one := range all {
		if one.Attached {
			return one, nil
		}
	}
	return cluster{}, fmt.Errorf("%w: no cluster is attached: start one with `dcos dev`, or attach one with `dcos cluster setup URL`", dcos.ErrNotFound)
}

// pick finds a cluster by its name, its id or a beginning of its id.
func pick(all []cluster, want string) (cluster, error) {
	var found []cluster
	for _, one := range all {
		if one.ID == want || one.Name == want {
			return one, nil
		}
		if strings.HasPrefix(one.ID, want) {
			found = append(found, one)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return cluster{}, fmt.Errorf("%w: no cluster %q: `dcos cluster list` shows the known ones", dcos.ErrNotFound, want)
	}
	return cluster{}, fmt.Errorf("%w: %q is the beginning of %d cluster ids, give more of it", dcos.ErrConflict, want, len(found))
}

// write keeps a cluster; its file holds a token and is for the user alone.
func (c clusters) write(one cluster) error {
	if err := checkClusterID(one.ID); err != nil {
		return err
	}
	b, err := one.encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.path(one.ID), 0o700); err != nil {
		return fmt.Errorf("make directory for cluster %s: %w", one.ID, err)
	}
	path := c.path(one.ID, "dcos.toml")
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("write cluster %s: %w", one.ID, err)
	}
	return os.Rename(path+".new", path)
}

// attach makes a cluster the one in use.
func (c clusters) attach(id string) error {
	all, err := c.list()
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.ID == id {
			continue
		}
		if err := os.Remove(c.path(other.ID, "attached")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("detach cluster %s: %w", other.ID, err)
		}
	}
	return os.WriteFile(c.path(id, "attached"), nil, 0o600)
}

// enlist writes a cluster and attaches it unless another one is attached: it
// never takes over. It says whether it is attached. Entries of ephemeral
// clusters that are gone, as gone tells, are dropped on the way.
func (c clusters) enlist(one cluster, gone func(cluster) bool) (attached bool, err error) {
	all, err := c.list()
	if err != nil {
		return false, err
	}
	for _, other := range all {
		switch {
		case other.ID == one.ID:
		case other.Ephemeral && gone(other):
			if err := c.remove(other.ID); err != nil {
				return false, err
			}
		case other.Attached:
			// A single cluster counts as attached without a mark. It needs one
			// now, before there are two.
			if err := os.WriteFile(c.path(other.ID, "attached"), nil, 0o600); err != nil {
				return false, fmt.Errorf("keep cluster %s attached: %w", other.ID, err)
			}
			return false, c.write(one)
		}
	}
	if err := c.write(one); err != nil {
		return false, err
	}
	return true, c.attach(one.ID)
}

// checkClusterID keeps what a server calls itself from naming another directory.
func checkClusterID(id string) error {
	if id == "" || len(id) > 100 || strings.ContainsAny(id, "/\\") || strings.HasPrefix(id, ".") || strings.ContainsFunc(id, unicode.IsControl) {
		return fmt.Errorf("%w: %.100q is no cluster id", dcos.ErrInvalid, id)
	}
	return nil
}

// remove forgets a cluster.
func (c clusters) remove(id string) error {
	if err := checkClusterID(id); err != nil {
		return err
	}
	if err := os.RemoveAll(c.path(id)); err != nil {
		return fmt.Errorf("remove cluster %s: %w", id, err)
	}
	return nil
}
