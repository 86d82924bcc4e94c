package container

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// sanitized builds the shim alone, so that every wrong access ends it loudly.
func sanitized(t *testing.T) (exe string, findings func() string) {
	t.Helper()
	dir := t.TempDir()
	logs := filepath.Join(dir, "finding")
	source := fmt.Sprintf(`
const char *__asan_default_options(void) { return "abort_on_error=1:detect_leaks=0:log_path=%s"; }
const char *__ubsan_default_options(void) { return "abort_on_error=1:print_stacktrace=1:log_path=%s"; }
int main(void) { return 99; }
`, logs, logs)
	if err := os.WriteFile(filepath.Join(dir, "main.c"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	exe = filepath.Join(dir, "shim")
	cmd := exec.CommandContext(t.Context(), "gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-sanitize-recover=all",
		"-fsanitize=address,undefined", "-o", exe, "shim_linux.c", filepath.Join(dir, "main.c"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return exe, func() string {
		files, _ := filepath.Glob(logs + "*")
		var all strings.Builder
		for _, f := range files {
			text, _ := os.ReadFile(f)
			all.Write(text)
		}
		return all.String()
	}
}

func TestShimIsCleanUnderTheSanitizers(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	exe, findings := sanitized(t)
	b.r.exe = exe
	for i, row := range []struct {
		kind dcos.Kind
		cmd  string
		want dcos.Exit
	}{
		{dcos.KindProcess, "echo out; echo err >&2; exit 7", dcos.Exit{Code: 7}},
		{dcos.KindProcess, "setsid sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000' & kill -9 $$", dcos.Exit{Code: -1, Signal: 9}},
		{dcos.KindProcess, "i=0; while [ $i -lt 3000 ]; do echo line $i; echo error $i >&2; i=$((i+1)); done", dcos.Exit{}},
		{dcos.KindCommand, "echo out; exit 3", dcos.Exit{Code: 3}},
		{dcos.KindCommand, "sleep 1000 & kill -15 $$", dcos.Exit{Code: -1, Signal: 15}},
	} {
		s := b.spec(row.kind, dcos.TaskID(fmt.Sprint("clean.", i)), row.cmd)
		s.Limits.LogBytes, s.Limits.MemBytes = 10<<10, 256<<20
		for n := range 300 {
			s.Env = append(s.Env, fmt.Sprintf("VARIABLE_%d=%s", n, strings.Repeat("x", n)))
		}
		if exit, _ := b.run(s); exit != row.want {
			t.Errorf("%q: %+v, want %+v", row.cmd, exit, row.want)
		}
	}
	bad := b.spec(dcos.KindCommand, "bad", "")
	bad.Argv = []string{strings.Repeat("long", 1000)}
	if _, err := b.r.Start(t.Context(), bad); err == nil {
		t.Error("a command that does not exist was started")
	}
	for _, broken := range []string{"", "x", "run", "run\x00", "log\x000\x000\x00", "mount\x00a\x00b\x00", "run\x00/\x00arg\x00", strings.Repeat("arg\x00a\x00", 9000)} {
		if text := b.reportOf(exe, broken); !strings.HasPrefix(text, "err ") {
			t.Errorf("plan %.40q: report %q", broken, text)
		}
	}
	if text := findings(); text != "" {
		t.Error(text)
	}
}

// reportOf gives a shim a plan as it is and returns what it reports.
func (b *bench) reportOf(exe, text string) string {
	b.t.Helper()
	p := &plan{}
	p.text.WriteString(text)
	file, err := p.file()
	if err != nil {
		b.t.Fatal(err)
	}
	defer file.Close()
	r, w, err := os.Pipe()
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	lock, err := os.CreateTemp(b.t.TempDir(), "lock")
	if err != nil {
		b.t.Fatal(err)
	}
	defer lock.Close()
	cmd := exec.CommandContext(b.t.Context(), exe, shimWord)
	cmd.ExtraFiles = []*os.File{file, w, lock}
	err = cmd.Start()
	w.Close()
	if err != nil {
		b.t.Fatal(err)
	}
	report := make([]byte, 4096)
	n, _ := r.Read(report)
	_ = cmd.Wait()
	return string(report[:n])
}

func TestFullDiskNeverBlocksATaskAndIsNoted(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	s := b.spec(dcos.KindProcess, "flood", `head -c 3000000 /dev/zero; echo before >&2; read x <go; rm filler; echo after; echo after >&2`)
	if err := unix.Mount("tmpfs", s.Sandbox, "tmpfs", 0, "size=1m,mode=700"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		b.remove("flood")
		if err := unix.Unmount(s.Sandbox, 0); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Mkfifo(filepath.Join(s.Sandbox, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Sandbox, "filler"), make([]byte, 600<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Limits.LogBytes = 64 << 20
	b.start(s)
	// The task goes on although its output has nowhere to go: it opens the pipe.
	gate, err := os.OpenFile(filepath.Join(s.Sandbox, "go"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gate.WriteString("x\n"); err != nil {
		t.Fatal(err)
	}
	gate.Close()
	exit := b.wait("flood")
	out := b.log("flood", "stdout")
	if exit.Code != 0 || !strings.Contains(out, "bytes of output were lost here: No space left on device]\nafter\n") {
		t.Errorf("exit %+v, the output ends in %q", exit, out[max(0, len(out)-200):])
	}
	if err := b.boxes.Remove("flood"); err == nil {
		t.Error("a sandbox with a mount on it was removed")
	}
}
