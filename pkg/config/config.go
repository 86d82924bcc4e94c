package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Config is every key of the configuration. A key has one name: "data_dir" in
// the file is --data-dir as a flag and DCOS_DATA_DIR in the environment. Flags
// win over the environment, the environment over the file, the file over the
// defaults.
//
// The tags are the documentation: json is the key's name, doc what it means,
// default its default, roles who reads it, secret that it is never shown.
type Config struct {
	DataDir   string `json:"data_dir" default:"/var/lib/dcos" roles:"master,agent,dev" doc:"Directory that holds all that must survive a restart. In dev the default is a temporary one that is removed at the end."`
	NodeName  string `json:"node_name" roles:"master,agent,dev" doc:"Name of this machine in the cluster; the host name when empty."`
	Cluster   string `json:"cluster_name" default:"dcos" roles:"master,dev" doc:"Name of the cluster, given when its first master starts."`
	Bind      string `json:"bind" default:"0.0.0.0" roles:"master,agent" doc:"Address that the ports listen on. Dev listens on 127.0.0.1 only."`
	Advertise string `json:"advertise" roles:"master,agent" doc:"Address at which the other machines reach this one; the address of the default route's interface when empty."`

	APIPort    int `json:"api_port" default:"8443" roles:"master,dev" doc:"Port of the API, the gateway and the page over HTTPS. 0 picks a free one. In dev it is plain HTTP on loopback."`
	PeerPort   int `json:"peer_port" default:"7444" roles:"master,dev" doc:"Port of raft, agent sessions and joining (mutual TLS). 0 picks a free one."`
	AgentPort  int `json:"agent_port" default:"7445" roles:"agent,dev" doc:"Port of the agent's own API, for masters only (mutual TLS). 0 picks a free one."`
	GossipPort int `json:"gossip_port" default:"7946" roles:"master,agent,dev" doc:"Port of gossip, TCP and UDP. 0 picks a free one."`

	Bootstrap bool     `json:"bootstrap" roles:"master" doc:"Make a new cluster when the data directory is empty. Refused when it is not, and together with join."`
	Join      []string `json:"join" roles:"master,agent" doc:"Masters to join, as ADDRESS or ADDRESS:PORT of their peer port. Needed for the first start only."`
	Token     string   `json:"token" secret:"true" roles:"master,agent" doc:"Join token, as printed by a master. Needed for the first start only; better given by token_file or DCOS_TOKEN than by a flag."`
	TokenFile string   `json:"token_file" roles:"master,agent" doc:"File to read the join token from."`
	AdminFile string   `json:"admin_file" roles:"master,dev" doc:"File (mode 0600) to which the first master writes the first admin's name and password; DATA_DIR/admin when empty."`

	TLSCert string `json:"tls_cert" roles:"master" doc:"Certificate chain (PEM) of the API port; read again when it changes. One signed by the cluster's own CA is made when empty."`
	TLSKey  string `json:"tls_key" roles:"master" doc:"Private key (PEM) that goes with tls_cert."`

	APIConns          int `json:"api_connections" default:"4096" roles:"master,dev" doc:"Most connections to the API port at once. When there are more, the one that has been idle the longest is closed."`
	APIConnsPerHost   int `json:"api_connections_per_address" default:"1024" roles:"master,dev" doc:"Most of them from one address, other than this machine's own."`
	APIRequests       int `json:"api_requests" default:"256" roles:"master,dev" doc:"Most reads carried out at once, and as many writes; 1,024 of each wait for up to two seconds, others are answered 503 with Retry-After."`
	APIStreams        int `json:"api_streams" default:"1024" roles:"master,dev" doc:"Most clients that listen to events or follow logs at once; others are answered 503 with Retry-After."`
	APIStreamsPerUser int `json:"api_streams_per_user" default:"64" roles:"master,dev" doc:"Most of them of one user; others are answered 429 with Retry-After."`

	DiskReserveMB     int `json:"disk_reserve_mb" default:"256" roles:"master" doc:"Free space of the data directory, in MiB, below which a master accepts no writes."`
	DeadMasterMinutes int `json:"dead_master_minutes" default:"0" roles:"master" doc:"Minutes after which the leader removes a master that does not answer, when at least three others vote and all of them answer. 0 removes none."`

	HistoryMB   int64 `json:"history_mb" default:"2048" roles:"master,dev" doc:"Most MiB of files from which earlier states can be read (?t= in the API, --at in the command line); 0 keeps none."`
	HistoryDays int   `json:"history_days" default:"7" roles:"master,dev" doc:"Days that earlier states are kept for, at most."`

	Isolation    string            `json:"isolation" default:"auto" roles:"agent,dev" doc:"How tasks are run: container (namespaces, cgroups, images; needs root), process (plain processes, nothing enforced), or auto: container where possible."`
	Resources    string            `json:"resources" roles:"agent,dev" doc:"What the agent offers, e.g. cpus:4;mem:8192;disk:20000;ports:[31000-32000]. Kinds that are not named are found out."`
	ReserveCPUs  float64           `json:"reserve_cpus" default:"0" roles:"agent,dev" doc:"CPUs kept from what was found, for the host itself."`
	ReserveMemMB int               `json:"reserve_mem_mb" default:"512" roles:"agent,dev" doc:"Memory in MiB kept from what was found, for the host itself."`
	Attributes   map[string]string `json:"attributes" roles:"agent,dev" doc:"Attributes for placement constraints, as name=value."`
	Region       string            `json:"region" roles:"master,agent,dev" doc:"Region of this machine, seen by constraints as @region."`
	Zone         string            `json:"zone" roles:"master,agent,dev" doc:"Zone of this machine, seen by constraints as @zone."`

	ImageMirrors []string `json:"image_mirrors" roles:"agent,dev" doc:"Registries (host:port) that are asked before the one an image names, in order. http://host:port allows plain HTTP."`
	ImageLogins  string   `json:"image_credentials" roles:"agent,dev" doc:"File of logins for private registries, in the form of docker's config.json (auths), mode 0600. It is read again for every pull. Programs that give credentials are not run."`
	ImageHigh    int      `json:"image_gc_high" default:"85" roles:"agent,dev" doc:"Percent of the disk from which images that no task uses are deleted, the longest unused first."`
	ImageLow     int      `json:"image_gc_low" default:"75" roles:"agent,dev" doc:"Percent of the disk at which that ends."`
	FetchAllow   []string `json:"fetch_allow" roles:"agent,dev" doc:"Directories below which tasks may fetch files of their node (file://), as the task's user. None by default."`
	FetchCacheMB int64    `json:"fetch_cache_mb" default:"2048" roles:"agent,dev" doc:"Most MiB kept of what was fetched with cache set, the longest unused go first."`
	FetchLimitMB int64    `json:"fetch_limit_mb" default:"10240" roles:"agent,dev" doc:"Most MiB that one task may fetch, as sent and again as unpacked."`
	LogBytes     int64    `json:"task_log_bytes" default:"16777216" roles:"agent,dev" doc:"Bytes kept of each of a task's stdout and stderr; older ones are dropped."`
	SandboxKeep  int      `json:"sandbox_keep" default:"10" roles:"agent,dev" doc:"Sandboxes of ended tasks that are kept per app."`
	TaskPids     int64    `json:"task_pids" default:"4096" roles:"agent,dev" doc:"Most processes and threads of one task."`
	ImageLimitMB int64    `json:"image_limit_mb" default:"20480" roles:"agent,dev" doc:"Largest unpacked image, in MiB."`
	LogLevel     string   `json:"log_level" default:"info" roles:"master,agent,dev" doc:"Least level of the log: debug, info, warn or error."`
	LogFormat    string   `json:"log_format" default:"text" roles:"master,agent,dev" doc:"Form of the log lines: text or json."`
	WithAgent    bool     `json:"with_agent" roles:"master" doc:"Run an agent in the same process: the machine is master and agent."`
	With         []string `json:"with" roles:"dev" doc:"Packages that dev installs once it is up."`
}

// Key describes one key for flags, environment and documentation.
type Key struct {
	Name    string // as in the file
	Kind    reflect.Kind
	Default string
	Doc     string
	Roles   []string
	Secret  bool
	field   int
}

// Flag is the key as a flag, without the dashes.
func (k Key) Flag() string { return strings.ReplaceAll(k.Name, "_", "-") }

// Env is the key as an environment variable.
func (k Key) Env() string { return "DCOS_" + strings.ToUpper(k.Name) }

// ReadBy says whether a role (master, agent, dev) reads the key.
func (k Key) ReadBy(role string) bool {
	for _, r := range k.Roles {
		if r == role {
			return true
		}
	}
	return false
}

// roleDev is the role of `dcos dev`.
const roleDev = "dev"

// defaultFor is the default as a role has it: dev has no data directory unless
// it is given one.
func (k Key) defaultFor(role string) string {
	if role == roleDev && k.Name == "data_dir" {
		return ""
	}
	return k.Default
}

// Keys are all keys in the order of the struct.
func Keys() []Key {
	t := reflect.TypeFor[Config]()
	keys := make([]Key, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		keys = append(keys, Key{
			Name: f.Tag.Get("json"), Kind: f.Type.Kind(), Default: f.Tag.Get("default"),
			Doc: f.Tag.Get("doc"), Roles: strings.Split(f.Tag.Get("roles"), ","),
			Secret: f.Tag.Get("secret") == "true", field: i,
		})
	}
	return keys
}

// Check says what is wrong with the values, every fault at once.
func (c *Config) Check(role string) error {
	var errs []error
	fault := func(keys, format string, args ...any) {
		errs = append(errs, &fault{keys, fmt.Errorf(format, args...)})
	}
	for _, p := range []struct {
		key  string
		port int
	}{{"api_port", c.APIPort}, {"peer_port", c.PeerPort}, {"agent_port", c.AgentPort}, {"gossip_port", c.GossipPort}} {
		if p.port < 0 || p.port > 65535 {
			fault(p.key, "got %d, expected a port from 0 to 65535", p.port)
		}
	}
	oneOf := func(key, got string, allowed ...string) {
		for _, a := range allowed {
			if got == a {
				return
			}
		}
		fault(key, "got %q, expected one of %s", got, strings.Join(allowed, ", "))
	}
	oneOf("isolation", c.Isolation, "auto", "container", "process")
	oneOf("log_level", c.LogLevel, "debug", "info", "warn", "error")
	oneOf("log_format", c.LogFormat, "text", "json")
	positive := func(key string, n int64) {
		if n < 1 {
			fault(key, "got %d, expected 1 or more", n)
		}
	}
	positive("task_log_bytes", c.LogBytes)
	positive("task_pids", c.TaskPids)
	positive("image_limit_mb", c.ImageLimitMB)
	positive("fetch_limit_mb", c.FetchLimitMB)
	if c.FetchCacheMB < 0 {
		fault("fetch_cache_mb", "got %d, expected 0 or more", c.FetchCacheMB)
	}
	for _, dir := range c.FetchAllow {
		if !strings.HasPrefix(dir, "/") {
			fault("fetch_allow", "got %q, expected absolute paths", dir)
		}
	}
	if c.ImageHigh < 1 || c.ImageHigh > 100 || c.ImageLow < 0 || c.ImageLow > c.ImageHigh {
		fault("image_gc_high, image_gc_low", "got %d and %d, expected percents, the low one not above the high one", c.ImageHigh, c.ImageLow)
	}
	positive("history_days", int64(c.HistoryDays))
	if c.HistoryMB < 0 {
		fault("history_mb", "got %d, expected 0 or more", c.HistoryMB)
	}
	positive("api_connections", int64(c.APIConns))
	positive("api_connections_per_address", int64(c.APIConnsPerHost))
	positive("api_requests", int64(c.APIRequests))
	positive("api_streams", int64(c.APIStreams))
	positive("api_streams_per_user", int64(c.APIStreamsPerUser))
	if c.DeadMasterMinutes < 0 {
		fault("dead_master_minutes", "got %d, expected 0 (never) or more", c.DeadMasterMinutes)
	}
	if c.DiskReserveMB < 0 || c.ReserveMemMB < 0 || c.ReserveCPUs < 0 || c.SandboxKeep < 0 {
		fault("disk_reserve_mb, reserve_mem_mb, reserve_cpus, sandbox_keep", "must not be negative")
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		fault("tls_cert, tls_key", "give both or none")
	}
	if c.Token != "" && c.TokenFile != "" {
		fault("token, token_file", "give one of them")
	}
	if role == "master" && c.Bootstrap && len(c.Join) > 0 {
		fault("bootstrap, join", "a master either makes a new cluster or joins one")
	}
	return errors.Join(errs...)
}
