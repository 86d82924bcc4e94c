package bench

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestProcessesAreMeasuredFromTheOutside(t *testing.T) {
	t.Parallel()
	if got := cpuOf(os.Getpid()); got <= 0 {
		t.Errorf("this process has used %d ns of CPU", got)
	}
	if rss, err := kilobytes(os.Getpid(), "status", "VmRSS:"); err != nil || rss < 1e6 {
		t.Errorf("this process has %v bytes of memory, %v", rss, err)
	}
	if _, err := kilobytes(os.Getpid(), "status", "NoSuchLine:"); err == nil {
		t.Error("a line that is not there was read")
	}
	child := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(below(os.Getpid()), child.Process.Pid) {
		t.Error("a child is not among the descendants")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if slices.Contains(below(os.Getpid()), child.Process.Pid) {
		t.Error("a child that has ended is still among the descendants")
	}
}

func TestOnlyAgentsIdsNameControlGroups(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	for name, id := range map[string]string{"a": "n-2dfd45ec751db0fc", "b": "..", "c": "", "d": "n-../../x", "e": "n-*"} {
		must(t, os.MkdirAll(work+"/"+name+"/agent", 0o700), os.WriteFile(work+"/"+name+"/agent/id", []byte(id+"\n"), 0o600))
	}
	if got := agentsIn(work); !slices.Equal(got, []string{"n-2dfd45ec751db0fc"}) {
		t.Errorf("agents %q", got)
	}
}
