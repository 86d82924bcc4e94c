package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// login is how a user proves who they are.
type login struct{ user, password, passwordFile, provider string }

func (l *login) flags(c *cobra.Command) {
	c.Flags().StringVar(&l.user, "username", "", "user; DCOS_USERNAME when not given")
	c.Flags().StringVar(&l.password, "password", "", "password; DCOS_PASSWORD and --password-file keep it out of the list of processes")
	c.Flags().StringVar(&l.passwordFile, "password-file", "", "file with the password; - is standard input")
	c.Flags().StringVar(&l.provider, "provider", "", "way to log in; there is dcos-users only")
}

// loginTries is how often a person may mistype the password.
const loginTries = 3

// token gets a bearer token.
func (l *login) token(ctx context.Context, e *Env, api *client.Client) (string, error) {
	if t := e.Get("DCOS_CLUSTER_SETUP_ACS_TOKEN"); t != "" {
		return t, nil
	}
	if l.provider != "" && l.provider != "dcos-users" {
		return "", usagef("there is no login provider %q, only dcos-users", l.provider)
	}
	given, err := l.given(e)
	if err != nil {
		return "", err
	}
	for try := 1; ; try++ {
		user, password, err := l.credentials(ctx, e, given)
		if err != nil {
			return "", err
		}
		token, err := api.Login(ctx, user, password)
		refused := errors.Is(err, dcos.ErrUnauthenticated) || errors.Is(err, dcos.ErrDenied)
		if !refused || given != "" || !e.TTY || try == loginTries {
			if refused {
				err = told{what: "the login of " + user + " was refused", next: "check user and password; the first admin's are in DATA_DIR/admin on the first master", err: err}
			}
			return token, err
		}
		fmt.Fprintln(e.Err, "That was refused, once more:")
	}
}

// given is the password from flags, file or environment; "" asks.
func (l *login) given(e *Env) (string, error) {
	switch {
	case l.password != "":
		return l.password, nil
	case l.passwordFile != "":
		b, err := readFileOrStdin(e, l.passwordFile)
		return strings.TrimSpace(string(b)), err
	}
	return e.Get("DCOS_PASSWORD"), nil
}

func (l *login) credentials(ctx context.Context, e *Env, password string) (string, string, error) {
	user := l.user
	if user == "" {
		user = e.Get("DCOS_USERNAME")
	}
	if (user == "" || password == "") && !e.TTY {
		return "", "", usagef("give user and password: --username, --password-file, or DCOS_USERNAME and DCOS_PASSWORD")
	}
	var err error
	if user == "" {
		fmt.Fprint(e.Err, "User: ")
		if user, err = readLine(e.In); err != nil {
			return "", "", err
		}
	}
	if password == "" {
		password, err = askPassword(ctx, e, "Password of "+user+": ")
	}
	return user, password, err
}

// askPassword reads a line that the terminal does not show.
func askPassword(ctx context.Context, e *Env, prompt string) (string, error) {
	fmt.Fprint(e.Err, prompt)
	f, ok := e.In.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return readLine(e.In)
	}
	before, err := term.GetState(int(f.Fd()))
	if err != nil {
		return "", fmt.Errorf("ask for the password: %w", err)
	}
	type answer struct {
		text []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() { // ends with the line, or with the process
		b, err := term.ReadPassword(int(f.Fd()))
		got <- answer{b, err}
	}()
	defer fmt.Fprintln(e.Err)
	select {
	case a := <-got:
		return string(a.text), a.err
	case <-ctx.Done():
		// The terminal must show again what is typed.
		return "", errors.Join(ctx.Err(), term.Restore(int(f.Fd()), before))
	}
}

func authCommand(e *Env) *cobra.Command {
	return groupOf("auth", "Log in and out", "run", authLogin(e), authLogout(e), authProviders(e))
}

func authLogin(e *Env) *cobra.Command {
	var l login
	c := &cobra.Command{Use: "login", Short: "Log in to the cluster in use", Args: noArgs}
	l.flags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		one, err := target(e)
		if err != nil {
			return err
		}
		if one.ID == "" {
			return usagef("DCOS_URL names a cluster that was not set up here: run `dcos cluster setup %s`", one.URL)
		}
		api, err := dial(one)
		if err != nil {
			return err
		}
		defer api.Close()
		token, err := l.token(cmd.Context(), e, api.As(""))
		if err != nil {
			return err
		}
		return changeToken(e, one.ID, token)
	}
	return c
}

func authLogout(e *Env) *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Forget the token of the cluster in use", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			known, err := clustersOf(e)
			if err != nil {
				return err
			}
			one, err := known.current(e)
			if err != nil {
				return err
			}
			return changeToken(e, one.ID, "")
		},
	}
}

// changeToken keeps what else the file says: flags and environment must not
// get into it.
func changeToken(e *Env, id, token string) error {
	known, err := clustersOf(e)
	if err != nil {
		return err
	}
	one, err := known.read(id)
	if err != nil {
		return err
	}
	one.Token = token
	return known.write(one)
}

func authProviders(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "list-providers", Short: "List the ways to log in", Args: noArgs}
	asJSON := jsonFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, _ []string) error {
		all, err := api.Providers(ctx)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(e, all)
		}
		t := newTable("PROVIDER ID", "LOGIN METHOD")
		for _, id := range slices.Sorted(maps.Keys(all)) {
			t.add(id, all[id].Description)
		}
		return t.write(e, "no way to log in")
	})
	return c
}
