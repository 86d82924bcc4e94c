package client

import "encoding/json"

// The JSON shapes of /dcos/v1, the API for what DC/OS never had.
type (
	// List is one page of a list: Total counts all rows that match, Cursor
	// (when set) asks for the next page, Index is the state it shows.
	List[T any] struct {
		Items  []T    `json:"items"`
		Total  int    `json:"total"`
		Cursor string `json:"cursor,omitempty"`
		Index  uint64 `json:"index"`
	}
	// Node is an agent's machine.
	Node struct {
		ID          string            `json:"id"`
		Hostname    string            `json:"hostname"`
		IP          string            `json:"ip"`
		State       string            `json:"state"` // active, draining, drained, suspect, lost
		Why         string            `json:"why,omitempty"`
		Since       string            `json:"since"`
		Version     string            `json:"version,omitempty"`
		Region      string            `json:"region,omitempty"`
		Zone        string            `json:"zone,omitempty"`
		Attributes  map[string]string `json:"attributes,omitempty"`
		Total       Resources         `json:"total"`
		Allocated   Resources         `json:"allocated"`
		Free        Resources         `json:"free"`
		Tasks       int               `json:"tasks"`
		Isolation   string            `json:"isolation"` // process, container
		NotEnforced []string          `json:"notEnforced,omitempty"`
		Usage       *Usage            `json:"usage,omitempty"` // live, from the leader only
		Drain       *Drain            `json:"drain,omitempty"` // its tasks are to go elsewhere
	}
	// Drain is what was asked of a node that gives up its tasks.
	Drain struct {
		Since    string `json:"since"`
		Deadline string `json:"deadline,omitempty"` // what is left then is stopped
		Remove   bool   `json:"remove,omitempty"`   // from the cluster, at the end
		Why      string `json:"why,omitempty"`
	}
	// DrainRequest asks a node to give up its tasks. After DeadlineSeconds, unless
	// that is 0, what is left is stopped whatever the upgrade strategies say.
	DrainRequest struct {
		DeadlineSeconds float64 `json:"deadlineSeconds,omitempty"`
		Remove          bool    `json:"remove,omitempty"`
		Why             string  `json:"why,omitempty"`
	}
	// Resources are amounts; memory and disk in MiB.
	Resources struct {
		CPUs  float64 `json:"cpus"`
		Mem   float64 `json:"mem"`
		Disk  float64 `json:"disk"`
		GPUs  int64   `json:"gpus"`
		Ports string  `json:"ports,omitempty"`
	}
	// Usage is what a node really uses.
	Usage struct {
		CPUs      float64 `json:"cpus"`
		MemBytes  int64   `json:"memBytes"`
		DiskBytes int64   `json:"diskBytes"`
	}
	// Task is one task, in more detail than Marathon shows.
	Task struct {
		ID        string    `json:"id"`
		App       string    `json:"app"`
		Instance  string    `json:"instance"`
		Attempt   int       `json:"attempt"`
		State     string    `json:"state"` // waiting, placed, staging, starting, running, stopping, finished, failed, killed, error, lost
		Goal      string    `json:"goal"`  // run, stop
		Node      string    `json:"node,omitempty"`
		Hostname  string    `json:"hostname,omitempty"`
		IP        string    `json:"ip,omitempty"`
		Ports     []int     `json:"ports,omitempty"`
		Need      Resources `json:"need"`
		Version   string    `json:"version"`
		Reason    string    `json:"reason,omitempty"`
		Message   string    `json:"message,omitempty"`
		Exit      *Exit     `json:"exit,omitempty"`
		CreatedAt string    `json:"createdAt"`
		PlacedAt  string    `json:"placedAt,omitempty"`
		StartedAt string    `json:"startedAt,omitempty"`
		EndedAt   string    `json:"endedAt,omitempty"`
	}
	// Exit is how a task's process ended.
	Exit struct {
		Code    int  `json:"code"`
		Signal  int  `json:"signal,omitempty"`
		OOM     bool `json:"oom,omitempty"`
		Unknown bool `json:"unknown,omitempty"`
	}
	// Service is a row of the services page: an app with its package.
	Service struct {
		ID         string    `json:"id"`
		State      string    `json:"state"` // running, deploying, waiting, suspended, deleting, degraded
		Why        string    `json:"why,omitempty"`
		Instances  int       `json:"instances"`
		Running    int       `json:"running"`
		Waiting    int       `json:"waiting"`
		Package    string    `json:"package,omitempty"`
		PkgVersion string    `json:"packageVersion,omitempty"`
		Version    string    `json:"version"`
		Need       Resources `json:"need"`                // per instance
		Endpoints  []string  `json:"endpoints,omitempty"` // ip:port of running tasks, first port first
		Deployment string    `json:"deployment,omitempty"`
	}
	// ClusterStatus answers dcos cluster status.
	ClusterStatus struct {
		ID        string         `json:"id"`
		Name      string         `json:"name"`
		Version   string         `json:"version"` // of the master that answers
		Level     uint64         `json:"featureLevel"`
		Index     uint64         `json:"index"`
		Term      uint64         `json:"term"`
		Leader    string         `json:"leader,omitempty"` // API address
		Masters   []MasterStatus `json:"masters"`
		Nodes     map[string]int `json:"nodes"` // by state
		Tasks     map[string]int `json:"tasks"` // by state
		Apps      int            `json:"apps"`
		Total     Resources      `json:"total"`
		Allocated Resources      `json:"allocated"`
		Problems  []string       `json:"problems"` // in words, worst first; empty is healthy
	}
	// MasterStatus is one master.
	MasterStatus struct {
		ID      string `json:"id"`
		Name    string `json:"name"`
		API     string `json:"api"`
		Peer    string `json:"peer"`
		Voter   bool   `json:"voter"`
		Leader  bool   `json:"leader"`
		Alive   bool   `json:"alive"` // as gossip sees it
		Version string `json:"version,omitempty"`
		Level   uint64 `json:"featureLevel,omitempty"` // newest that it supports
	}
	// Why answers "why does it not run".
	Why struct {
		App       string       `json:"app"`
		Running   int          `json:"running"`
		Wanted    int          `json:"wanted"`
		Summary   string       `json:"summary"` // one sentence
		Details   []string     `json:"details"` // further sentences
		Funnel    []WhyFilter  `json:"funnel"`  // how many nodes passed each filter
		Suggest   []string     `json:"suggest"` // what would let it run, smallest change first
		RetryAt   string       `json:"retryAt,omitempty"`
		LastError *TaskFailure `json:"lastError,omitempty"`
	}
	// WhyFilter is one filter of placement.
	WhyFilter struct {
		Filter   string   `json:"filter"`
		Rejected int      `json:"rejected"`
		Left     int      `json:"left"`
		Reasons  []string `json:"reasons,omitempty"` // grouped, with counts
	}
	// Event is one frame of /dcos/v1/stream and one row of /dcos/v1/events.
	// On the stream Seq is the id of the SSE frame ("id:" line) and what
	// Last-Event-ID resumes from.
	Event struct {
		Seq   uint64          `json:"seq"` // log index
		Time  string          `json:"time"`
		Topic string          `json:"topic"` // cluster, nodes, services, tasks, packages, deployments
		Op    string          `json:"op"`    // snapshot (Data: list of rows), append (further rows of a large snapshot), upsert (one row), delete (Key only), reset (all anew follows), ping
		Key   string          `json:"key,omitempty"`
		Data  json.RawMessage `json:"data,omitempty"`
		By    string          `json:"by,omitempty"`   // principal
		Text  string          `json:"text,omitempty"` // for people
	}
	// Problem is the body of every error under /dcos/v1 (RFC 9457).
	Problem struct {
		Type   string        `json:"type"`
		Title  string        `json:"title"`
		Status int           `json:"status"`
		Code   string        `json:"code"` // invalid, not_found, conflict, denied, unauthenticated, unavailable, exhausted, unknown_outcome, internal
		Detail string        `json:"detail"`
		Hint   string        `json:"hint,omitempty"` // what to do next
		Fields []FieldErrors `json:"fields,omitempty"`
	}
	// Login is the body of POST /acs/api/v1/auth/login and its answer.
	Login struct {
		UID      string `json:"uid,omitempty"`
		Password string `json:"password,omitempty"`
		Token    string `json:"token,omitempty"` // in the answer; or a one-time login token in the request
	}
	// JoinToken is a token as it is shown once, with the command to use it.
	JoinToken struct {
		ID      string `json:"id"`
		Role    string `json:"role"`
		Token   string `json:"token"`
		Command string `json:"command"`
	}
	// LogLine is one line of a task's log on the SSE log routes.
	LogLine struct {
		Offset int64  `json:"offset"`
		Text   string `json:"text"`
	}
	// Route is a row of the table of routes: what each needs.
	Route struct {
		Method     string `json:"method,omitempty"` // "" is every method
		Path       string `json:"path"`
		Access     string `json:"access"` // public, logged in, permitted
		Permission string `json:"permission,omitempty"`
		Action     string `json:"action,omitempty"`
	}
	// Version answers /dcos/v1/version and dcos version --json.
	Version struct {
		Version string `json:"version"`
		Commit  string `json:"commit"`
		Date    string `json:"date"`
		Level   uint64 `json:"featureLevel"`
	}
)

// Shapes of a dry run.
type (
	// DryRun answers a write with ?dryRun=1: all was checked, nothing was changed.
	DryRun struct {
		DryRun bool      `json:"dryRun"`          // always true
		Would  []string  `json:"would"`           // what it would do, in sentences
		App    *App      `json:"app,omitempty"`   // the definition that would be stored
		Apps   []Outcome `json:"apps,omitempty"`  // what would become of each app, right now
		Nodes  int       `json:"nodes,omitempty"` // of one app: how many there are
		Fits   int       `json:"fits,omitempty"`  // of one app: how many have room for one instance right now
	}
	// Outcome is what one app would become by a write, were it made now and
	// did every agent at once what it is told.
	Outcome struct {
		App     string   `json:"app"`
		Wanted  int      `json:"wanted"`
		Kept    int      `json:"kept"`    // tasks that go on
		Stopped int      `json:"stopped"` // tasks that end
		Started int      `json:"started"` // tasks that find a place
		Waiting int      `json:"waiting"` // instances that find none
		Untried int      `json:"untried,omitempty"`
		Nodes   int      `json:"nodes"` // how many get new tasks
		Spots   []Spot   `json:"spots"` // the first of those, most tasks first
		Zones   []Spot   `json:"zones"`
		Reasons []string `json:"reasons"` // why not all is as wanted then
		Suggest []string `json:"suggest"` // what would help, smallest change first
	}
	// Spot is how many new tasks a node or a zone gets.
	Spot struct {
		Node     string `json:"node,omitempty"`
		Hostname string `json:"hostname,omitempty"`
		Region   string `json:"region,omitempty"`
		Zone     string `json:"zone,omitempty"`
		Tasks    int    `json:"tasks"`
	}
)

// Shapes of users, tokens and words.
type (
	// Grant allows actions (read, write, full) on a path and all below it.
	Grant struct {
		Path    string   `json:"path"`
		Actions []string `json:"actions"`
	}
	// User is a person or program that may log in. The password is only ever
	// sent, when a user is made.
	User struct {
		ID        string  `json:"id"`
		Password  string  `json:"password,omitempty"`
		Grants    []Grant `json:"grants"`
		CreatedAt string  `json:"createdAt,omitempty"`
	}
	// Password is the body of a change of password.
	Password struct {
		Password string `json:"password"`
	}
	// TokenRow is a join token as lists show it: without its secret.
	TokenRow struct {
		ID        string `json:"id"`
		Role      string `json:"role"`
		CreatedAt string `json:"createdAt"`
	}
	// TokenRequest asks for a join token.
	TokenRequest struct {
		Role string `json:"role"` // master or agent
	}
	// InstalledPackage is a row of the topic packages.
	InstalledPackage struct {
		App         string `json:"app"`
		Name        string `json:"name"`
		Version     string `json:"version"`
		Release     int64  `json:"release"`
		InstalledAt string `json:"installedAt"`
	}
	// StateWord is a word for a state, as every surface shows it.
	StateWord struct {
		Of       string `json:"of"` // node, task, service
		Word     string `json:"word"`
		Severity string `json:"severity"` // ok, working, warn, bad, idle
		Glyph    string `json:"glyph"`
		Meaning  string `json:"meaning"`
	}
	// LogEntry is one line on the log routes: a LogLine with what dcos-log adds.
	LogEntry struct {
		LogLine
		Fields map[string]string `json:"fields"` // MESSAGE, AGENT_ID, CONTAINER_ID, FILE
		Cursor string            `json:"cursor"` // the offset behind the line
	}
)
