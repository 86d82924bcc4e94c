package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func TestFlagsWinOverEnvironmentOverFileOverDefaults(t *testing.T) {
	t.Parallel()
	file := []byte("api_port: 1\npeer_port: 2\nagent_port: 3\nattributes: {rack: a.B, disk: ssd}\njoin: [10.0.0.1, 10.0.0.2]\nreserve_cpus: 0.5\n")
	fs := pflag.NewFlagSet("master", pflag.ContinueOnError)
	BindFlags(fs, "master")
	if err := fs.Parse([]string{"--api-port", "11"}); err != nil {
		t.Fatal(err)
	}
	got, err := Load("master", file, []string{"DCOS_API_PORT=21", "DCOS_PEER_PORT=22", "HOME=/x"}, fs)
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.APIPort, want.PeerPort, want.AgentPort = 11, 22, 3
	want.Attributes = map[string]string{"rack": "a.B", "disk": "ssd"}
	want.Join = []string{"10.0.0.1", "10.0.0.2"}
	want.ReserveCPUs = 0.5
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("config (-want +got):\n%s", d)
	}
}

func TestListsAndPairsReadTheSameFromFlagAndEnvironment(t *testing.T) {
	t.Parallel()
	fs := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	BindFlags(fs, "agent")
	if err := fs.Parse([]string{"--join", "a,b", "--attributes", "rack=1,zone=2"}); err != nil {
		t.Fatal(err)
	}
	byFlag, err := Load("agent", nil, nil, fs)
	if err != nil {
		t.Fatal(err)
	}
	byEnv, err := Load("agent", nil, []string{"DCOS_JOIN=a,b", "DCOS_ATTRIBUTES=rack=1,zone=2"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(byFlag, byEnv); d != "" {
		t.Errorf("flag and environment differ:\n%s", d)
	}
	if len(byFlag.Join) != 2 || byFlag.Attributes["zone"] != "2" {
		t.Errorf("join %v, attributes %v", byFlag.Join, byFlag.Attributes)
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, role, file string
		env              []string
		want             string
	}{
		{"unknown key", "master", "data_dri: /x\n", nil, `unknown field "data_dri"`},
		{"unknown variable", "agent", "", []string{"DCOS_DATA_DRI=/x"}, "DCOS_DATA_DRI"},
		{"wrong type", "master", "api_port: many\n", nil, "api_port"},
		{"port too large", "master", "api_port: 65536\n", nil, "api_port: got 65536"},
		{"number as text", "agent", "", []string{"DCOS_AGENT_PORT=x"}, `agent_port: got "x"`},
		{"not a number", "agent", "", []string{"DCOS_RESERVE_CPUS=NaN"}, "reserve_cpus"},
		{"no such isolation", "agent", "isolation: vm\n", nil, "isolation: got \"vm\""},
		{"both ways to start", "master", "bootstrap: true\njoin: [a]\n", nil, "either makes a new cluster or joins one"},
		{"duplicate key", "master", "bind: a\nbind: b\n", nil, "already set"},
		{"half of a certificate", "master", "tls_cert: /c\n", nil, "tls_cert, tls_key"},
		{"pairs without value", "agent", "", []string{"DCOS_ATTRIBUTES=rack"}, "expected name=value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(tt.role, []byte(tt.file), tt.env, nil)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an ErrInvalid with %q", err, tt.want)
			}
		})
	}
}

func TestAnErrorNamesWhereTheWrongValueComesFrom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file string
		env, flags []string
		want       string
		inFile     bool
	}{
		{"file", "api_port: 65536\n", nil, nil, "api_port: got 65536, expected a port from 0 to 65535;", true},
		{"no yaml", "api_port: [\n", nil, nil, "file", true},
		{"variable beside a file", "bind: 127.0.0.1\n", []string{"DCOS_API_PORT=65536"}, nil, "(api_port is set by DCOS_API_PORT)", false},
		{"variable that wins over the file", "api_port: 1\n", []string{"DCOS_API_PORT=x"}, nil, `got "x", expected a whole number (api_port is set by DCOS_API_PORT)`, false},
		{"variable that is no key", "bind: 127.0.0.1\n", []string{"DCOS_API_PROT=1"}, nil, "DCOS_API_PROT", false},
		{"flag that wins over both", "api_port: 1\n", []string{"DCOS_API_PORT=2"}, []string{"--api-port", "65536"}, "(api_port is set by --api-port)", false},
		{"file and variable together", "token_file: /t\n", []string{"DCOS_TOKEN=a.b.c"}, nil, "give one of them (token is set by DCOS_TOKEN)", true},
		{"one fault each", "log_level: x\n", []string{"DCOS_LOG_FORMAT=y"}, nil, "(log_format is set by DCOS_LOG_FORMAT)", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fs := pflag.NewFlagSet("master", pflag.ContinueOnError)
			BindFlags(fs, "master")
			if err := fs.Parse(tt.flags); err != nil {
				t.Fatal(err)
			}
			_, err := Load("master", []byte(tt.file), tt.env, fs)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) || InFile(err) != tt.inFile {
				t.Errorf("%v, in the file: %v, want an ErrInvalid with %q, in the file: %v", err, InFile(err), tt.want, tt.inFile)
			}
		})
	}
}

func TestReferenceDocumentsEveryKey(t *testing.T) {
	t.Parallel()
	text := Reference()
	for _, k := range Keys() {
		if k.Name == "" || k.Doc == "" || len(k.Roles) == 0 {
			t.Errorf("key %q lacks a name, a text or a role", k.Name)
		}
		if !strings.Contains(text, "`"+k.Env()+"`") || !strings.Contains(text, "`--"+k.Flag()+"`") {
			t.Errorf("the reference lacks %s", k.Name)
		}
	}
}

func TestDevHasADataDirectoryOnlyWhenGivenOne(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ file, env, want string }{
		{"", "", ""}, {"api_port: 1", "", ""}, {"", "DCOS_DATA_DIR=/var/lib/dcos", "/var/lib/dcos"}, {"data_dir: /x", "", "/x"},
	} {
		fs := pflag.NewFlagSet("dev", pflag.ContinueOnError)
		BindFlags(fs, "dev")
		if c, err := Load("dev", []byte(tt.file), []string{tt.env}, fs); err != nil || c.DataDir != tt.want {
			t.Errorf("file %q, environment %q: %q, %v, want %q", tt.file, tt.env, c.DataDir, err, tt.want)
		}
	}
	if c, err := Load("master", nil, nil, nil); err != nil || c.DataDir != "/var/lib/dcos" {
		t.Errorf("a master's is %q, %v", c.DataDir, err)
	}
}

func TestShowHidesSecrets(t *testing.T) {
	t.Parallel()
	c := Defaults()
	c.Token = "very.secret"
	if got := c.Show()["token"]; got != "…" {
		t.Errorf("token is shown as %v", got)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("api_port: 1\n"), "DCOS_JOIN=a,b")
	f.Fuzz(func(t *testing.T, file []byte, env string) {
		c, err := Load("master", file, []string{env}, nil)
		if err == nil && c.Check("master") != nil {
			t.Errorf("loaded what its own check refuses: %q", file)
		}
	})
}
