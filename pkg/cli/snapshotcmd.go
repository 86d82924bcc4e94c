package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
)

func snapshotSave(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "save FILE", Short: "Write the whole state of the cluster to a file", Args: exactly(1),
		Long: "Write the whole state of the cluster, as of now, to a file. Work goes on meanwhile. The file holds hashes\n" +
			"of passwords: keep it as you keep those. A restore needs a master's secrets as well, which no API hands\n" +
			"out: keep a copy of DATA_DIR/master/secrets.pem of one master in a safe place.",
		Example: "  dcos master snapshot save backup.snap",
	}
	asJSON := jsonFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		if err := saveSnapshot(ctx, api, args[0]); err != nil {
			return err
		}
		return inspectSnapshot(e, args[0], *asJSON)
	})
	return c
}

// saveSnapshot writes a file that has its name only once it is whole and
// durable.
func saveSnapshot(ctx context.Context, api *client.Client, name string) (err error) {
	part := name + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fileError(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part))
		}
	}()
	_, err = api.Snapshot(ctx, f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, err = consensus.ReadSnapshot(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("save snapshot: %w", err)
	}
	if err := os.Rename(part, name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	_ = dir.Sync() // not every system can
	return dir.Close()
}

// snapshotInfo is what `snapshot inspect --json` prints.
type snapshotInfo struct {
	Cluster string         `json:"cluster_id"`
	Name    string         `json:"name"`
	Index   uint64         `json:"index"`
	Term    uint64         `json:"term"`
	Level   uint64         `json:"feature_level"`
	Time    string         `json:"time"`
	Voters  []string       `json:"voters"`
	Rows    map[string]int `json:"rows"`
	Hash    string         `json:"state_hash"`
	Bytes   int64          `json:"bytes"`
	SHA256  string         `json:"sha256"`
}

func snapshotInspect(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "inspect FILE", Short: "Check a snapshot file and say what it holds; needs no cluster", Args: exactly(1),
		Example: "  dcos master snapshot inspect backup.snap\n  dcos master snapshot inspect /var/lib/dcos/master/snapshots/0000000000000001.snap",
	}
	asJSON := jsonFlag(c)
	c.RunE = func(_ *cobra.Command, args []string) error { return inspectSnapshot(e, args[0], *asJSON) }
	return c
}

// openSnapshot reads and checks a file.
func openSnapshot(name string) (b *consensus.Backup, sum string, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, "", 0, fileError(err)
	}
	defer f.Close()
	h := sha256.New()
	if b, err = consensus.ReadSnapshot(io.TeeReader(f, h)); err == nil {
		size, err = f.Seek(0, io.SeekCurrent)
	}
	if err != nil {
		return nil, "", 0, fmt.Errorf("%s: %w", name, err)
	}
	if st, serr := f.Stat(); serr == nil && st.Size() != size {
		return nil, "", 0, fmt.Errorf("%s: %w: %d bytes behind the end of the snapshot", name, dcos.ErrInvalid, st.Size()-size)
	}
	return b, hex.EncodeToString(h.Sum(nil)), size, nil
}

func inspectSnapshot(e *Env, name string, asJSON bool) error {
	b, sum, size, err := openSnapshot(name)
	if err != nil {
		return err
	}
	v := b.Store.View()
	info, _ := v.Cluster()
	out := snapshotInfo{
		Cluster: info.ID, Name: info.Name, Index: uint64(b.Index), Term: uint64(b.Term), Level: info.Level, Time: v.Time().String(),
		Rows: map[string]int{}, Hash: fmt.Sprintf("%016x", v.Hash()), Bytes: size, SHA256: sum, Voters: []string{},
	}
	for _, id := range b.Voters {
		out.Voters = append(out.Voters, fmt.Sprintf("%016x", uint64(id)))
	}
	for range v.Masters() {
		out.Rows["masters"]++
	}
	for range v.Nodes() {
		out.Rows["nodes"]++
	}
	for range v.Apps() {
		out.Rows["apps"]++
	}
	for range v.Tasks() {
		out.Rows["tasks"]++
	}
	for range v.Packages() {
		out.Rows["packages"]++
	}
	for range v.Users() {
		out.Rows["users"]++
	}
	if asJSON {
		return printJSON(e, out)
	}
	t := newTable("WHAT", "IS")
	t.add("cluster", out.Cluster+" ("+out.Name+")")
	t.add("time", out.Time)
	t.add("index, term", fmt.Sprintf("%d, %d", out.Index, out.Term))
	t.add("feature level", strconv.FormatUint(out.Level, 10))
	for _, k := range []string{"masters", "nodes", "apps", "tasks", "packages", "users"} {
		t.add(k, strconv.Itoa(out.Rows[k]))
	}
	t.add("bytes", strconv.FormatInt(out.Bytes, 10))
	t.add("SHA-256", out.SHA256)
	return t.write(e, "")
}
