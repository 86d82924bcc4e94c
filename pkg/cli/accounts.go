package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
)

func tokenCommand(e *Env) *cobra.Command {
	create := &cobra.Command{
		Use: "create ROLE", Short: "Make a token with which machines join, and print the command that uses it",
		Args: exactly(1), ValidArgs: []string{"master", "agent"},
	}
	asJSON := jsonFlag(create)
	create.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		if args[0] != "master" && args[0] != "agent" {
			return usagef("ROLE %q: expected master or agent", args[0])
		}
		t, err := api.CreateToken(ctx, args[0])
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(e, t)
		}
		fmt.Fprintln(e.Out, t.Command)
		return nil
	})
	list := &cobra.Command{Use: "list", Short: "List join tokens, without their secrets", Args: noArgs}
	listJSON := jsonFlag(list)
	list.RunE = ask(e, func(ctx context.Context, api *client.Client, _ []string) error {
		all, err := client.All(ctx, api.Tokens, client.Query{})
		if err != nil {
			return err
		}
		t := newTable("ID", "ROLE", "CREATED")
		for _, k := range all {
			t.add(k.ID, k.Role, k.CreatedAt)
		}
		return show(e, *listJSON, all, t, "no join tokens; make one with `dcos token create agent`")
	})
	remove := &cobra.Command{Use: "remove ID", Short: "Make a join token void", Args: exactly(1)}
	remove.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		return api.RemoveToken(ctx, args[0])
	})
	return groupOf("token", "Join tokens of machines", "run", create, list, remove)
}

func userCommand(e *Env) *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List users", Args: noArgs}
	asJSON := jsonFlag(list)
	list.RunE = ask(e, func(ctx context.Context, api *client.Client, _ []string) error {
		all, err := client.All(ctx, api.Users, client.Query{})
		if err != nil {
			return err
		}
		t := newTable("ID", "GRANTS", "CREATED")
		for _, u := range all {
			t.add(u.ID, grantsOf(u.Grants), u.CreatedAt)
		}
		return show(e, *asJSON, all, t, "no users")
	})
	remove := &cobra.Command{Use: "remove USER", Short: "Delete a user; their tokens become void", Args: exactly(1)}
	remove.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		return api.RemoveUser(ctx, args[0])
	})
	return groupOf("user", "Users and what they may do", "run", userCreate(e), list, remove, userPassword(e))
}

func userCreate(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "create USER", Short: "Make a user", Args: exactly(1),
		Example: "  dcos user create ann --grant /apps=read,write --grant /logs=read",
	}
	var l login
	c.Flags().StringVar(&l.passwordFile, "password-file", "", "file with the password; - is standard input")
	grants := c.Flags().StringArray("grant", nil, "what the user may do, as PATH=ACTION[,ACTION] with the actions read, write, full; repeatable")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		u := client.User{ID: args[0], Grants: []client.Grant{}}
		for _, g := range *grants {
			path, actions, ok := strings.Cut(g, "=")
			if !ok || path == "" || actions == "" {
				return usagef("--grant %q: expected PATH=ACTION, as in /apps=read,write", g)
			}
			u.Grants = append(u.Grants, client.Grant{Path: path, Actions: strings.Split(actions, ",")})
		}
		var err error
		if u.Password, err = newPassword(ctx, e, l.passwordFile); err != nil {
			return err
		}
		u, err = api.CreateUser(ctx, u)
		if err != nil {
			return err
		}
		fmt.Fprintln(e.Out, u.ID)
		return nil
	})
	return c
}

func userPassword(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "passwd USER", Short: "Give a user a new password; their tokens become void", Args: exactly(1)}
	file := c.Flags().String("password-file", "", "file with the password; - is standard input")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		password, err := newPassword(ctx, e, *file)
		if err != nil {
			return err
		}
		return api.SetPassword(ctx, args[0], password)
	})
	return c
}

// newPassword reads a password from a file, or twice from a person.
func newPassword(ctx context.Context, e *Env, file string) (string, error) {
	if file != "" {
		b, err := readFileOrStdin(e, file)
		return strings.TrimSpace(string(b)), err
	}
	if !e.TTY {
		return "", usagef("give the password with --password-file FILE; - is standard input")
	}
	first, err := askPassword(ctx, e, "New password: ")
	if err != nil {
		return "", err
	}
	again, err := askPassword(ctx, e, "Once more: ")
	if err != nil {
		return "", err
	}
	if first != again {
		return "", usagef("the two passwords differ")
	}
	return first, nil
}

func grantsOf(gs []client.Grant) string {
	var out []string
	for _, g := range gs {
		out = append(out, g.Path+"="+strings.Join(g.Actions, ","))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}
