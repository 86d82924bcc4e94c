package cli

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dcos-go/dcos/installer"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/config"
)

// localAdmin logs in to the master of this machine as its first admin, whose
// password only root can read here. The server must show a certificate of the
// CA that is in the master's own directory.
func localAdmin(ctx context.Context, p installer.Paths) (*client.Client, error) {
	content, err := os.ReadFile(filepath.Join(p.ConfigDir, "config.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read the configuration of this machine: %w", err)
	}
	conf, err := config.Load("master", content, nil, nil)
	if err != nil {
		return nil, err
	}
	file := conf.AdminFile
	if file == "" {
		file = filepath.Join(conf.DataDir, "admin")
	}
	account, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the first admin's account: %w", err)
	}
	lines := strings.Fields(string(account))
	if len(lines) != 2 {
		return nil, fmt.Errorf("%s: expected a name and a password, one a line", file)
	}
	secrets, err := auth.LoadSecrets(filepath.Join(conf.DataDir, "master"))
	if err != nil {
		return nil, fmt.Errorf("read the CA of this cluster: %w", err)
	}
	c := client.Config{
		URL: "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(conf.APIPort)),
		CA:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secrets.CA.Cert().Raw}),
	}
	if conf.TLSCert != "" { // a certificate of the operator's, for another name than 127.0.0.1
		c.CA, c.Insecure = nil, true
	}
	api, err := client.New(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	token, err := api.Login(ctx, lines[0], lines[1])
	if err != nil {
		api.Close()
		return nil, fmt.Errorf("log in at this machine's master: %w", err)
	}
	return api.As(token), nil
}

// printJoinLines makes tokens and shows the commands that add machines. On a
// master that holds no admin's password it says how to get them elsewhere.
func printJoinLines(ctx context.Context, e *Env, p installer.Paths) error {
	api, err := localAdmin(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(e.Err, "To add machines: dcos token create agent (or master), wherever you are logged in")
		return nil
	}
	if err != nil {
		return err
	}
	defer api.Close()
	for _, role := range []string{"master", "agent"} {
		token, err := api.CreateToken(ctx, role)
		if err != nil {
			return fmt.Errorf("make a join token for a %s: %w", role, err)
		}
		fmt.Fprintf(e.Out, "%s: %s\n", role, token.Command)
	}
	if status, err := api.Cluster(ctx); err == nil { // a hint only
		fmt.Fprintf(e.Err, "To use the cluster: dcos cluster setup https://%s (user and password: %s)\n", status.Leader, filepath.Join(p.DataDir, "admin"))
	}
	return nil
}
