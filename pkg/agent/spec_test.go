package agent

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

func TestCommandFollowsMarathonAndDockerRun(t *testing.T) {
	t.Parallel()
	image := &dcos.Unpacked{Entrypoint: []string{"/entry", "-x"}, Cmd: []string{"serve"}}
	for _, tt := range []struct {
		name string
		l    dcos.Launch
		img  *dcos.Unpacked
		want []string // nil: invalid
	}{
		{"cmd goes through the shell", dcos.Launch{Cmd: "a b"}, nil, []string{"/bin/sh", "-c", "a b"}},
		{"args are the command", dcos.Launch{Args: []string{"/bin/a", "b c"}}, nil, []string{"/bin/a", "b c"}},
		{"cmd sets the entry point aside", dcos.Launch{Image: "i", Cmd: "a b"}, image, []string{"/bin/sh", "-c", "a b"}},
		{"args go to the entry point", dcos.Launch{Image: "i", Args: []string{"b"}}, image, []string{"/entry", "-x", "b"}},
		{"image's own", dcos.Launch{Image: "i"}, image, []string{"/entry", "-x", "serve"}},
		{"image without entry point", dcos.Launch{Image: "i", Args: []string{"/bin/b"}}, &dcos.Unpacked{Cmd: []string{"c"}}, []string{"/bin/b"}},
		{"image with nothing", dcos.Launch{Image: "i"}, &dcos.Unpacked{}, nil},
		{"nothing", dcos.Launch{}, nil, nil},
		{"empty program", dcos.Launch{Args: []string{""}}, nil, nil},
		{"zero byte", dcos.Launch{Cmd: "a\x00b"}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := MakeSpec(&tt.l, tt.img, Facts{Isolation: dcos.IsolationContainer, Sandbox: "/s"})
			if tt.want == nil {
				if !errors.Is(err, dcos.ErrInvalid) {
					t.Errorf("MakeSpec = %v, %v, want an invalid", s.Argv, err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, s.Argv); err != nil || diff != "" {
				t.Errorf("%v: argv (-want +got)\n%s", err, diff)
			}
		})
	}
}

func TestKindFollowsImageAndIsolation(t *testing.T) {
	t.Parallel()
	img := &dcos.Unpacked{Lower: []string{"/l2", "/l1"}, WorkDir: "/srv", StopSignal: 3, User: "redis"}
	for _, tt := range []struct {
		name  string
		image string
		iso   dcos.Isolation
		want  dcos.Kind // 0: invalid
		dir   string
		user  string
	}{
		{"image", "i", dcos.IsolationContainer, dcos.KindImage, "/srv", "redis"},
		{"image on a node of plain processes", "i", dcos.IsolationProcess, 0, "", ""},
		{"command", "", dcos.IsolationContainer, dcos.KindCommand, "/s", ""},
		{"process", "", dcos.IsolationProcess, dcos.KindProcess, "/s", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := &dcos.Launch{Cmd: "true", Image: tt.image}
			with := img
			if tt.image == "" {
				with = nil
			}
			s, err := MakeSpec(l, with, Facts{Isolation: tt.iso, Sandbox: "/s"})
			if tt.want == 0 {
				if !errors.Is(err, dcos.ErrInvalid) || !strings.Contains(err.Error(), "as root") {
					t.Errorf("%+v, %v, want an invalid that says what to do", s, err)
				}
				return
			}
			if err != nil || s.Kind != tt.want || s.WorkDir != tt.dir || s.User != tt.user || s.Sandbox != "/s" {
				t.Errorf("MakeSpec = %+v, %v", s, err)
			}
			if tt.want == dcos.KindImage && (s.StopSignal != 3 || !cmp.Equal(s.Lower, img.Lower)) {
				t.Errorf("MakeSpec = %+v", s)
			}
		})
	}
}

func TestEnvironmentIsLayered(t *testing.T) {
	t.Parallel()
	f := Facts{Isolation: dcos.IsolationContainer, Sandbox: "/s", Binary: "/usr/bin/dcos"}
	l := &dcos.Launch{Task: "t", Cmd: "true", Env: map[string]string{"A": "app", "PORT0": "31000"}}
	s, err := MakeSpec(l, nil, f)
	want := []string{
		"A=app", "DCOS_BINARY=/usr/bin/dcos", "HOME=/s", "MESOS_CONTAINER_NAME=mesos-t", "MESOS_SANDBOX=/s",
		"PATH=" + defaultPath, "PORT0=31000",
	}
	if diff := cmp.Diff(want, s.Env); err != nil || diff != "" {
		t.Errorf("command: %v (-want +got)\n%s", err, diff)
	}
	l.Image = "i"
	s, err = MakeSpec(l, &dcos.Unpacked{Env: []string{"A=image", "PATH=/img", "B=image", "broken"}}, f)
	want = []string{
		"A=app", "B=image", "MESOS_CONTAINER_NAME=mesos-t", "MESOS_SANDBOX=/mnt/mesos/sandbox", "PATH=/img", "PORT0=31000",
	}
	if diff := cmp.Diff(want, s.Env); err != nil || diff != "" {
		t.Errorf("image: %v (-want +got)\n%s", err, diff)
	}
	for _, env := range []map[string]string{{"A=B": "1"}, {"": "1"}, {"A": "1\x00"}} {
		if s, err := MakeSpec(&dcos.Launch{Cmd: "true", Env: env}, nil, f); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("MakeSpec with %q = %v, %v, want an invalid", env, s.Env, err)
		}
	}
}

func TestLimitsAreInBytes(t *testing.T) {
	t.Parallel()
	l := &dcos.Launch{Cmd: "true", Need: resource.Set{CPUs: 500, Mem: 32_500, Disk: resource.MaxScalar}}
	s, err := MakeSpec(l, nil, Facts{Sandbox: "/s", Pids: 7, LogBytes: 9})
	want := dcos.Limits{CPUs: 500, MemBytes: 32<<20 + 512<<10, DiskBytes: 1_000_000_000 << 20, Pids: 7, LogBytes: 9}
	if err != nil || s.Limits != want {
		t.Errorf("limits are %+v, %v, want %+v", s.Limits, err, want)
	}
}

func TestSandboxBelongsToNobodyOfTheHostWhenTheUserIsTheImages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		user, image string
		img         bool
		want        string
	}{
		{"bob", "", false, "bob"}, {"", "", false, ""}, {"", "redis", true, ""}, {"", "999:1000", true, "999:1000"}, {"bob", "999", true, ""}, {"12", "redis", true, "12"},
	} {
		var img *dcos.Unpacked
		if tt.img {
			img = &dcos.Unpacked{User: tt.image}
		}
		if got := sandboxOwner(&dcos.Launch{User: tt.user}, img); got != tt.want {
			t.Errorf("%+v: sandbox of %q", tt, got)
		}
	}
}
