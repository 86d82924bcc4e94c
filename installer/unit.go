package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// unitFile is the systemd unit. KillMode=process and Delegate keep tasks
// running while the agent restarts; the shims sit in cgroups of their own. A
// process that was killed is always started again, however often: systemd's own
// limit would give a machine up after five kills within ten seconds. One that
// said NeedsOperator stays down, with its reason as the last word of the journal.
func unitFile(o Options, p Paths) string {
	return fmt.Sprintf(`[Unit]
Description=dcos %s
Documentation=https://github.com/dcos-go/dcos
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart=%s %s --config %s
KillMode=process
Delegate=yes
Restart=always
RestartSec=1
RestartPreventExitStatus=%d
TimeoutStartSec=120
TimeoutStopSec=30
LimitNOFILE=1048576
TasksMax=infinity
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
`, o.Role, p.Binary, o.process(), filepath.Join(p.ConfigDir, "config.yaml"), NeedsOperator)
}

// NeedsOperator is the exit code of a process that another start would not
// help: it was removed from its cluster, or its data are damaged or an old copy.
const NeedsOperator = 8

type unitStatus struct {
	loaded, active, enabled bool
	text                    string // what the process says of itself
	result                  string
	invocation              string // of the running or last start
}

func unitState(ctx context.Context, m Machine) unitStatus {
	out, err := m.Systemctl(ctx, "show", Unit, "--property=LoadState,ActiveState,UnitFileState,StatusText,Result,InvocationID")
	if err != nil {
		return unitStatus{} // without systemd there is no unit; preflight says so
	}
	var s unitStatus
	for _, line := range strings.Split(out, "\n") {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch k {
		case "LoadState":
			s.loaded = v == "loaded"
		case "ActiveState":
			s.active = v == "active" || v == "activating" || v == "reloading"
		case "UnitFileState":
			s.enabled = v == "enabled"
		case "StatusText":
			s.text = v
		case "Result":
			s.result = v
		case "InvocationID":
			s.invocation = v
		}
	}
	return s
}

// startStep keeps in last the start that was there before its own: what that
// one said of itself is of no interest.
func startStep(m Machine, changed *bool, last *string) step {
	return step{
		name: "start",
		done: func(ctx context.Context) (bool, string, error) {
			s := unitState(ctx, m)
			return !*changed && s.active && s.enabled, Unit + " is running", nil
		},
		do: func(ctx context.Context) (string, error) {
			*last = unitState(ctx, m).invocation
			for _, args := range [][]string{{"daemon-reload"}, {"enable", Unit}, {"restart", "--no-block", Unit}} {
				if out, err := m.Systemctl(ctx, args...); err != nil {
					return "", fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, out)
				}
			}
			return Unit + " started", nil
		},
	}
}

// Healthy is how the status that a process gives to systemd begins once it does
// its work: a master when the cluster has a leader, an agent when its session
// is open.
const Healthy = "healthy"

// Failed is how that status begins when a process ends by an error; the error
// follows.
const Failed = "failed: "

func healthyStep(m Machine, o Options, p Paths, last *string) step {
	check := func(ctx context.Context) (unitStatus, bool) {
		s := unitState(ctx, m)
		return s, s.active && strings.HasPrefix(s.text, Healthy)
	}
	return step{
		name: "healthy",
		done: func(ctx context.Context) (bool, string, error) {
			s, ok := check(ctx)
			if !ok {
				return false, "", nil
			}
			return true, s.text, dropToken(p)
		},
		do: func(ctx context.Context) (string, error) {
			wait := o.Wait
			if wait == 0 {
				wait = 90 * time.Second
			}
			ctx, cancel := context.WithTimeout(ctx, wait)
			defer cancel()
			said := "it has not said anything"
			for {
				s, ok := check(ctx)
				if ok {
					return s.text, dropToken(p)
				}
				if why, ok := strings.CutPrefix(s.text, Failed); ok && s.invocation != *last {
					return "", gaveUp(ctx, m, p, why)
				}
				if s.text != "" {
					said = s.text
				}
				if pause(ctx, 100*time.Millisecond) != nil {
					return "", fmt.Errorf("not healthy after %s: %s; look into `journalctl -u dcos`, mend it, and run install again", wait, said)
				}
			}
		},
	}
}

// gaveUp ends an installation whose process ended by an error. A machine that
// has not joined is stopped, so that it does not ask masters again and again
// with a token that they refuse.
func gaveUp(ctx context.Context, m Machine, p Paths, why string) error {
	err := fmt.Errorf("%s; mend it, and run install again", why)
	if !joined(p) {
		if out, stopErr := m.Systemctl(ctx, "stop", Unit); stopErr != nil {
			err = fmt.Errorf("%w (systemctl stop %s: %w: %s)", err, Unit, stopErr, strings.TrimSpace(out))
		}
	}
	return err
}

func dropToken(p Paths) error {
	if err := os.Remove(tokenFile(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the used token: %w", err)
	}
	return nil
}
