package leak

import (
	"context"
	"fmt"
	"strings"
)

// mark separates the answers of the one command that looks at a machine.
const mark = "=== leak check ==="

// remote looks at another machine with the tools that each Linux has.
func remote(ctx context.Context, m Machine, s Scope) (snapshot, error) {
	names := s.Cgroups
	if len(names) == 0 {
		names = []string{""}
	}
	var cgroups strings.Builder
	for _, n := range names {
		fmt.Fprintf(&cgroups, " /sys/fs/cgroup/%[1]s /sys/fs/cgroup/*/%[1]s", n)
	}
	dirs := ""
	for _, d := range s.Dirs {
		dirs += " '" + strings.ReplaceAll(d, "'", `'\''`) + "'"
	}
	if dirs == "" {
		dirs = " /nonexistent"
	}
	parts := []string{
		"cat /proc/self/mountinfo",
		"find" + cgroups.String() + " -type d 2>/dev/null",
		"find /run/netns /run/dcos/netns -mindepth 1 2>/dev/null",
		"ip -o link",
		"nft -s list ruleset",
		`for p in /proc/[0-9]*; do c=$(tr '\0\n' '  ' < $p/cmdline) 2>/dev/null || continue; echo "${p#/proc/} $(cat $p/comm 2>/dev/null): $c|$(readlink $p/cwd) $(tr '\n' ' ' < $p/cgroup)"; done 2>/dev/null`,
		"find" + dirs + ` -printf '%p (%y)\n' 2>/dev/null`,
		"stat -L -c '%t:%T' /dev/ptmx || true",
	}
	text, _, err := m.Run(ctx, "sh", "-c", strings.Join(parts, "\necho '"+mark+"'\n"))
	if err != nil {
		return nil, fmt.Errorf("look at the machine: %w", err)
	}
	answers := strings.Split(text, mark+"\n")
	if len(answers) != len(parts) {
		return nil, fmt.Errorf("look at the machine: %d answers, want %d", len(answers), len(parts))
	}
	return parseRemote(s, answers), nil
}

func parseRemote(s Scope, answers []string) snapshot {
	out := snapshot{}
	out.addMounts(s, answers[0])
	seen := map[string]bool{}
	each(answers[1], func(path string) {
		if !seen[path] && (len(s.Cgroups) > 0 || s.matches(path)) {
			out.add("cgroup %s", path)
		}
		seen[path] = true
	})
	each(answers[2], func(path string) {
		if s.matches(path) {
			out.add("network namespace %s", path)
		}
	})
	each(answers[3], func(line string) {
		if f := strings.Fields(line); len(f) > 1 && s.matches(f[1]) {
			name, _, _ := strings.Cut(strings.TrimSuffix(f[1], ":"), "@")
			out.add("link %s", name)
		}
	})
	out.addRuleset(s, answers[4])
	each(answers[5], func(line string) {
		shown, _, _ := strings.Cut(line, "|")
		if s.matches(line) && !ofSSH(shown, line) {
			out.add("process %s", shown)
		}
	})
	each(answers[6], func(line string) { out.add("file %s", line) })
	if got := strings.TrimSpace(answers[7]); got != "5:2" {
		out.add("/dev/ptmx is no terminal device any more (device %s)", got)
	}
	return out
}

// ofSSH says that a process is the look itself or its connection.
func ofSSH(shown, line string) bool {
	return strings.Contains(shown, " sshd: sshd: ") || strings.Contains(line, mark)
}

func each(text string, f func(line string)) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			f(line)
		}
	}
}
