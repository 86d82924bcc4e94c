package client

import "encoding/json"

// The JSON shapes of Marathon's API as we write them (marathon-api sections 0
// to 5). Fields without omitempty are always written.
type (
	// App is an app definition with what Marathon adds when it is read.
	App struct {
		ID                    string            `json:"id"`
		Cmd                   string            `json:"cmd,omitempty"`
		Args                  []string          `json:"args,omitempty"`
		User                  string            `json:"user,omitempty"`
		Env                   map[string]string `json:"env,omitempty"`
		Instances             int               `json:"instances"`
		CPUs                  float64           `json:"cpus"`
		Mem                   float64           `json:"mem"`
		Disk                  float64           `json:"disk"`
		GPUs                  int64             `json:"gpus"`
		Executor              string            `json:"executor"`
		Constraints           [][]string        `json:"constraints,omitempty"`
		AcceptedResourceRoles []string          `json:"acceptedResourceRoles,omitempty"`
		Role                  string            `json:"role"`
		Labels                map[string]string `json:"labels"`
		Container             *AppContainer     `json:"container,omitempty"`
		Networks              []Network         `json:"networks"`
		PortDefinitions       []PortDefinition  `json:"portDefinitions"`
		RequirePorts          bool              `json:"requirePorts"`
		BackoffSeconds        float64           `json:"backoffSeconds"`
		BackoffFactor         float64           `json:"backoffFactor"`
		MaxLaunchDelaySeconds float64           `json:"maxLaunchDelaySeconds"`
		KillGraceSeconds      *float64          `json:"taskKillGracePeriodSeconds,omitempty"`
		UpgradeStrategy       UpgradeStrategy   `json:"upgradeStrategy"`
		// UnreachableStrategy is "disabled" or an object.
		UnreachableStrategy json.RawMessage `json:"unreachableStrategy"`
		// Fence is "lease" for instances that never run twice at once; not Marathon's.
		Fence         string       `json:"fence,omitempty"`
		Fetch         []Artifact   `json:"fetch,omitempty"`
		KillSelection string       `json:"killSelection"`
		Version       string       `json:"version,omitempty"`
		VersionInfo   *VersionInfo `json:"versionInfo,omitempty"`

		// Written when read with counts, deployments, tasks, failures.
		*AppCounts
		Deployments     *[]DeploymentRef `json:"deployments,omitempty"`
		Tasks           *[]AppTask       `json:"tasks,omitempty"`
		LastTaskFailure *TaskFailure     `json:"lastTaskFailure,omitempty"`
	}
	// AppCounts are the task counts of an app.
	AppCounts struct {
		TasksStaged    int `json:"tasksStaged"`
		TasksRunning   int `json:"tasksRunning"`
		TasksHealthy   int `json:"tasksHealthy"`
		TasksUnhealthy int `json:"tasksUnhealthy"`
	}
	// Artifact is a file that is brought into each sandbox before the task
	// starts. The checksum, sha256:HEX, is not Marathon's.
	Artifact struct {
		URI        string `json:"uri"`
		Extract    bool   `json:"extract"`
		Executable bool   `json:"executable"`
		Cache      bool   `json:"cache"`
		DestPath   string `json:"destPath,omitempty"`
		Checksum   string `json:"checksum,omitempty"`
	}
	// AppContainer asks for an image or the plain host file system.
	AppContainer struct {
		Type    string           `json:"type"`
		Docker  *DockerContainer `json:"docker,omitempty"`
		Volumes []struct{}       `json:"volumes"`
	}
	// DockerContainer names the image.
	DockerContainer struct {
		Image          string     `json:"image"`
		ForcePullImage bool       `json:"forcePullImage"`
		Privileged     bool       `json:"privileged"`
		Parameters     []struct{} `json:"parameters"`
	}
	// Network is one network of an app.
	Network struct {
		Mode string `json:"mode"`
		Name string `json:"name,omitempty"`
	}
	// PortDefinition asks for one host port.
	PortDefinition struct {
		Port     int               `json:"port"`
		Protocol string            `json:"protocol"`
		Name     string            `json:"name,omitempty"`
		Labels   map[string]string `json:"labels,omitempty"`
	}
	// UpgradeStrategy bounds a rolling change.
	UpgradeStrategy struct {
		MinimumHealthCapacity float64 `json:"minimumHealthCapacity"`
		MaximumOverCapacity   float64 `json:"maximumOverCapacity"`
	}
	// VersionInfo tells when an app was last scaled and changed.
	VersionInfo struct {
		LastScalingAt      string `json:"lastScalingAt"`
		LastConfigChangeAt string `json:"lastConfigChangeAt"`
	}
	// AppTask is one task as Marathon shows it.
	AppTask struct {
		ID                 string      `json:"id"`
		AppID              string      `json:"appId"`
		Host               string      `json:"host"`
		SlaveID            string      `json:"slaveId,omitempty"`
		State              string      `json:"state"`
		Ports              []int       `json:"ports"`
		ServicePorts       []int       `json:"servicePorts"`
		IPAddresses        []IPAddress `json:"ipAddresses"`
		StagedAt           string      `json:"stagedAt,omitempty"`
		StartedAt          string      `json:"startedAt,omitempty"`
		Version            string      `json:"version,omitempty"`
		HealthCheckResults []struct{}  `json:"healthCheckResults"`
		LocalVolumes       []struct{}  `json:"localVolumes"`
		Region             string      `json:"region,omitempty"`
		Zone               string      `json:"zone,omitempty"`
		Role               string      `json:"role"`
	}
	// IPAddress is one address of a task.
	IPAddress struct {
		IPAddress string `json:"ipAddress"`
		Protocol  string `json:"protocol"`
	}
	// TaskFailure is an app's last failed task.
	TaskFailure struct {
		AppID     string `json:"appId"`
		Host      string `json:"host"`
		Message   string `json:"message"`
		State     string `json:"state"`
		TaskID    string `json:"taskId"`
		Timestamp string `json:"timestamp"`
		Version   string `json:"version"`
		SlaveID   string `json:"slaveId,omitempty"`
	}
	// DeploymentRef names a deployment.
	DeploymentRef struct {
		ID string `json:"id"`
	}
	// DeploymentResult answers every call that starts a deployment.
	DeploymentResult struct {
		Version      string `json:"version"`
		DeploymentID string `json:"deploymentId"`
	}
	// DeploymentInfo is one running deployment.
	DeploymentInfo struct {
		ID             string             `json:"id"`
		Version        string             `json:"version"`
		AffectedApps   []string           `json:"affectedApps"`
		AffectedPods   []string           `json:"affectedPods"`
		Steps          []DeploymentStep   `json:"steps"`
		CurrentActions []DeploymentAction `json:"currentActions"`
		CurrentStep    int                `json:"currentStep"`
		TotalSteps     int                `json:"totalSteps"`
	}
	// DeploymentStep is actions carried out together.
	DeploymentStep struct {
		Actions []DeploymentAction `json:"actions"`
	}
	// DeploymentAction is what is done to one app.
	DeploymentAction struct {
		Action                string     `json:"action"`
		App                   string     `json:"app"`
		ReadinessCheckResults []struct{} `json:"readinessCheckResults"`
	}
	// Queue is the launch queue.
	Queue struct {
		Queue []QueueEntry `json:"queue"`
	}
	// QueueEntry is one app that has instances waiting.
	QueueEntry struct {
		App                    App           `json:"app"`
		Count                  int           `json:"count"`
		Role                   string        `json:"role"`
		Since                  string        `json:"since"`
		Delay                  QueueDelay    `json:"delay"`
		ProcessedOffersSummary OffersSummary `json:"processedOffersSummary"`
	}
	// QueueDelay is the present backoff.
	QueueDelay struct {
		TimeLeftSeconds int  `json:"timeLeftSeconds"`
		Overdue         bool `json:"overdue"`
	}
	// OffersSummary counts nodes as Marathon counts offers.
	OffersSummary struct {
		ProcessedOffersCount       int             `json:"processedOffersCount"`
		UnusedOffersCount          int             `json:"unusedOffersCount"`
		RejectSummaryLastOffers    []RejectSummary `json:"rejectSummaryLastOffers"`
		RejectSummaryLaunchAttempt []RejectSummary `json:"rejectSummaryLaunchAttempt"`
	}
	// RejectSummary is one step of the funnel.
	RejectSummary struct {
		Reason    string `json:"reason"`
		Declined  int    `json:"declined"`
		Processed int    `json:"processed"`
	}
	// MarathonError is the body of every error of this dialect.
	MarathonError struct {
		Message     string          `json:"message"`
		Details     json.RawMessage `json:"details,omitempty"` // list of FieldErrors, or a text
		Deployments []DeploymentRef `json:"deployments,omitempty"`
	}
	// FieldErrors is what is wrong with one field.
	FieldErrors struct {
		Path   string   `json:"path"`
		Errors []string `json:"errors"`
	}
)
