package agent

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// TestImageAndCommandSemanticsAreDockers is the part of the table of
// conformance that needs no container: what `docker run` makes of an image and
// of what is given with it, as docker documents it; and Marathon's rules where
// there is no image. The rest is in integration.
func TestImageAndCommandSemanticsAreDockers(t *testing.T) {
	t.Parallel()
	const path = "PATH=" + defaultPath
	words := strings.Fields
	image := func(u dcos.Unpacked) *dcos.Unpacked { return &u }
	for _, tt := range []struct {
		name string
		l    dcos.Launch
		img  *dcos.Unpacked
		argv []string // nil: refused
		dir  string   // "": not looked at
		user string
		stop int
		env  []string // must be there
		not  []string // names that must not be there
	}{
		{name: "ENTRYPOINT and CMD, exec form: one after the other", img: image(dcos.Unpacked{Entrypoint: words("/e 1"), Cmd: words("c 2")}), argv: words("/e 1 c 2")},
		{name: "ENTRYPOINT alone", img: image(dcos.Unpacked{Entrypoint: words("/e 1")}), argv: words("/e 1")},
		{name: "CMD alone", img: image(dcos.Unpacked{Cmd: words("c 2")}), argv: words("c 2")},
		{name: "shell form of CMD", img: image(dcos.Unpacked{Cmd: []string{"/bin/sh", "-c", "a && b"}}), argv: []string{"/bin/sh", "-c", "a && b"}},
		{name: "shell form of ENTRYPOINT: CMD becomes $0, which it ignores", img: image(dcos.Unpacked{Entrypoint: []string{"/bin/sh", "-c", "a"}, Cmd: words("b")}), argv: []string{"/bin/sh", "-c", "a", "b"}},
		{name: "arguments replace CMD", l: dcos.Launch{Args: words("x y")}, img: image(dcos.Unpacked{Entrypoint: words("/e"), Cmd: words("c")}), argv: words("/e x y")},
		{name: "arguments without ENTRYPOINT are the program", l: dcos.Launch{Args: words("x y")}, img: image(dcos.Unpacked{Cmd: words("c")}), argv: words("x y")},
		{name: "arguments keep spaces and quotes", l: dcos.Launch{Args: []string{"a b", `c"d`, "$E"}}, img: image(dcos.Unpacked{Entrypoint: words("/e")}), argv: []string{"/e", "a b", `c"d`, "$E"}},
		{name: "an empty argument stays", l: dcos.Launch{Args: []string{"", "x"}}, img: image(dcos.Unpacked{Entrypoint: words("/e")}), argv: []string{"/e", "", "x"}},
		{name: "cmd is --entrypoint /bin/sh IMAGE -c CMD", l: dcos.Launch{Cmd: "a | b"}, img: image(dcos.Unpacked{Entrypoint: words("/e"), Cmd: words("c")}), argv: []string{"/bin/sh", "-c", "a | b"}},
		{name: "neither ENTRYPOINT nor CMD", img: image(dcos.Unpacked{})},
		{name: "an empty program", img: image(dcos.Unpacked{Cmd: []string{""}})},
		{name: "a zero byte", l: dcos.Launch{Args: []string{"a\x00"}}, img: image(dcos.Unpacked{Entrypoint: words("/e")})},
		{name: "WORKDIR", img: image(dcos.Unpacked{Cmd: words("c"), WorkDir: "/srv/app"}), argv: words("c"), dir: "/srv/app"},
		{name: "no WORKDIR is /", img: image(dcos.Unpacked{Cmd: words("c")}), argv: words("c"), dir: "/"},
		{name: "USER by name", img: image(dcos.Unpacked{Cmd: words("c"), User: "web"}), argv: words("c"), user: "web"},
		{name: "USER by number", img: image(dcos.Unpacked{Cmd: words("c"), User: "1000"}), argv: words("c"), user: "1000"},
		{name: "USER with a group", img: image(dcos.Unpacked{Cmd: words("c"), User: "web:www"}), argv: words("c"), user: "web:www"},
		{name: "no USER is root", img: image(dcos.Unpacked{Cmd: words("c")}), argv: words("c"), user: ""},
		{name: "--user wins over USER", l: dcos.Launch{User: "99:98"}, img: image(dcos.Unpacked{Cmd: words("c"), User: "web"}), argv: words("c"), user: "99:98"},
		{name: "STOPSIGNAL", img: image(dcos.Unpacked{Cmd: words("c"), StopSignal: 3}), argv: words("c"), stop: 3},
		{name: "no STOPSIGNAL is SIGTERM", img: image(dcos.Unpacked{Cmd: words("c")}), argv: words("c"), stop: 0},
		{name: "ENV", img: image(dcos.Unpacked{Cmd: words("c"), Env: []string{"A=1", "B=x=y", "C="}}), argv: words("c"), env: []string{"A=1", "B=x=y", "C="}},
		{name: "--env wins over ENV", l: dcos.Launch{Env: map[string]string{"A": "2"}}, img: image(dcos.Unpacked{Cmd: words("c"), Env: []string{"A=1", "B=1"}}), argv: words("c"), env: []string{"A=2", "B=1"}},
		{name: "--env may be empty", l: dcos.Launch{Env: map[string]string{"A": ""}}, img: image(dcos.Unpacked{Cmd: words("c"), Env: []string{"A=1"}}), argv: words("c"), env: []string{"A="}},
		{name: "the last of equal ENV wins", img: image(dcos.Unpacked{Cmd: words("c"), Env: []string{"A=1", "A=2"}}), argv: words("c"), env: []string{"A=2"}},
		{name: "ENV without a value sets nothing", img: image(dcos.Unpacked{Cmd: words("c"), Env: []string{"A", "=x"}}), argv: words("c"), not: []string{"A", ""}},
		{name: "ENV PATH", img: image(dcos.Unpacked{Cmd: words("c"), Env: []string{"PATH=/x"}}), argv: words("c"), env: []string{"PATH=/x"}},
		{name: "no ENV PATH is the default one", img: image(dcos.Unpacked{Cmd: words("c")}), argv: words("c"), env: []string{path}},
		{name: "--env PATH", l: dcos.Launch{Env: map[string]string{"PATH": "/y"}}, img: image(dcos.Unpacked{Cmd: words("c"), Env: []string{"PATH=/x"}}), argv: words("c"), env: []string{"PATH=/y"}},
		{name: "ENV may hold lines and quotes", img: image(dcos.Unpacked{Cmd: words("c"), Env: []string{"A=1\n2", `B="q"`}}), argv: words("c"), env: []string{"A=1\n2", `B="q"`}},
		{name: "HOME is of the user inside, not of the node", img: image(dcos.Unpacked{Cmd: words("c")}), argv: words("c"), not: []string{"HOME"}},
		{name: "ENV HOME", img: image(dcos.Unpacked{Cmd: words("c"), Env: []string{"HOME=/h"}}), argv: words("c"), env: []string{"HOME=/h"}},
		{name: "variables of the node's binary stay outside", img: image(dcos.Unpacked{Cmd: words("c")}), argv: words("c"), not: []string{"DCOS_BINARY"}},
		{name: "the sandbox is where Mesos has it", img: image(dcos.Unpacked{Cmd: words("c")}), argv: words("c"), env: []string{"MESOS_SANDBOX=/mnt/mesos/sandbox"}},
		{name: "ENV is not expanded", img: image(dcos.Unpacked{Cmd: words("c"), Env: []string{"A=$PATH"}}), argv: words("c"), env: []string{"A=$PATH"}},
		{name: "CMD is not expanded", img: image(dcos.Unpacked{Cmd: words("echo $HOME *")}), argv: words("echo $HOME *")},

		{name: "Marathon: cmd runs in the sandbox", l: dcos.Launch{Cmd: "a b"}, argv: []string{"/bin/sh", "-c", "a b"}, dir: "/s", env: []string{"HOME=/s", "MESOS_SANDBOX=/s", path}},
		{name: "Marathon: args run as they are", l: dcos.Launch{Args: []string{"/bin/a", "b c"}}, argv: []string{"/bin/a", "b c"}, dir: "/s"},
		{name: "Marathon: user", l: dcos.Launch{Cmd: "aa", User: "web"}, argv: []string{"/bin/sh", "-c", "aa"}, user: "web"},
		{name: "Marathon: env wins over the node's", l: dcos.Launch{Cmd: "aa", Env: map[string]string{"HOME": "/h", "PATH": "/p"}}, argv: []string{"/bin/sh", "-c", "aa"}, env: []string{"HOME=/h", "PATH=/p"}},
		{name: "Marathon: nothing to run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.img != nil {
				tt.l.Image = "image"
			}
			s, err := MakeSpec(&tt.l, tt.img, Facts{Isolation: dcos.IsolationContainer, Sandbox: "/s", Binary: "/usr/bin/dcos"})
			if (err != nil) != (tt.argv == nil) {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.argv, s.Argv); diff != "" {
				t.Error(diff)
			}
			if tt.dir != "" && s.WorkDir != tt.dir || s.User != tt.user || s.StopSignal != tt.stop {
				t.Errorf("directory %q, user %q, stop signal %d", s.WorkDir, s.User, s.StopSignal)
			}
			for _, e := range tt.env {
				if !slices.Contains(s.Env, e) {
					t.Errorf("no %q in %q", e, s.Env)
				}
			}
			for _, n := range tt.not {
				if slices.ContainsFunc(s.Env, func(e string) bool { return strings.HasPrefix(e, n+"=") }) {
					t.Errorf("%q in %q", n, s.Env)
				}
			}
		})
	}
}
