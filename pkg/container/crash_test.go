package container

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/sandbox"
)

// starterEnv makes the test binary an agent that starts tasks until it is killed.
const starterEnv = "DCOS_TEST_STARTER"

type starterPlan struct {
	Config Config
	Boxes  string
	Kind   dcos.Kind
	Lower  []string
}

// runStarter starts one task after the other and prints each one that runs.
func runStarter(text string) error {
	var p starterPlan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	boxes, err := sandbox.New(p.Boxes)
	if err != nil {
		return err
	}
	r, err := New(p.Config)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		id := dcos.TaskID(fmt.Sprintf("%d.%d", os.Getpid(), i))
		dir, err := boxes.Create(id, "")
		if err != nil {
			return err
		}
		pid, err := r.Start(context.Background(), dcos.Spec{
			Task: id, Kind: p.Kind, Lower: p.Lower, Argv: []string{"sleep", "1000"}, Sandbox: dir, Env: []string{"PATH=/bin", "MESOS_TASK_ID=" + string(id)},
		})
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stdout, id, pid)
	}
}

// TestAgentKilledAtAnyMomentLosesAndLeaksNothing kills starters after as many
// different times as the rounds, and looks with a new runtime at what is there.
func TestAgentKilledAtAnyMomentLosesAndLeaksNothing(t *testing.T) {
	needRoot(t)
	for _, row := range []struct {
		name   string
		kind   dcos.Kind
		rounds int
		step   time.Duration
	}{
		{"process", dcos.KindProcess, 20, 1300 * time.Microsecond},
		{"command", dcos.KindCommand, 30, 1700 * time.Microsecond},
		{"image", dcos.KindImage, 8, 17 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t)
			p := starterPlan{Config: b.conf, Boxes: filepath.Join(filepath.Dir(b.conf.Dir), "sandboxes"), Kind: row.kind}
			if row.kind == dcos.KindImage {
				p.Lower = b.layers()
			}
			alive, gone := 0, 0
			for n := range row.rounds {
				a, g := b.killedStarter(p, time.Duration(n)*row.step)
				alive, gone = alive+a, gone+g
			}
			t.Logf("found %d running and %d that never ran", alive, gone)
		})
	}
}

func (b *bench) killedStarter(p starterPlan, after time.Duration) (running, gone int) {
	b.t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.CommandContext(b.t.Context(), "/proc/self/exe")
	cmd.Env = []string{starterEnv + "=" + string(text)}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	started := map[dcos.TaskID]int{}
	read := func() bool {
		var id dcos.TaskID
		var pid int
		if !lines.Scan() {
			return false
		}
		if n, _ := fmt.Sscan(lines.Text(), &id, &pid); n == 2 {
			started[id] = pid
		}
		return true
	}
	read() // from the first task that runs on
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	for read() {
	}
	_ = cmd.Wait()
	timer.Stop()
	b.restart()
	ids, err := b.r.List()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, id := range ids {
		st, err := b.r.Adopt(b.t.Context(), id)
		switch pid, said := started[id]; {
		case err != nil:
			b.t.Errorf("adopt %s: %v", id, err)
		case said && (st.State != Alive || st.Pid != pid):
			b.t.Errorf("%s was started as %d, and is now %+v", id, pid, st)
		case st.State == Alive && unix.Kill(st.Pid, 0) != nil:
			b.t.Errorf("%s is said to run as %d, which does not exist", id, st.Pid)
		case st.State == Alive:
			running++
		default:
			gone++
		}
		delete(started, id)
		b.remove(id)
	}
	if len(started) > 0 {
		b.t.Errorf("started and not found again: %v", started)
	}
	return running, gone
}

func TestDirectoriesOfStartsThatCameToNothingAreRemoved(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	if err := os.Mkdir(b.r.taskDir("empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	dir := b.r.taskDir("grouped")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(record{Task: "grouped", Kind: dcos.KindCommand, Boot: b.r.boot})
	if err == nil {
		err = replaceFile(filepath.Join(dir, recordFile), text)
	}
	if err == nil {
		_, err = b.r.makeGroup("grouped", dcos.Limits{MemBytes: 1 << 20})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(b.conf.Dir, trashPrefix+"old"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.restart()
	if ids, err := b.r.List(); err != nil || fmt.Sprint(ids) != "[grouped]" {
		t.Errorf("List: %v, %v", ids, err)
	}
	if st, err := b.r.Adopt(t.Context(), "grouped"); err != nil || st.State != Gone {
		t.Errorf("%+v, %v", st, err)
	}
	b.remove("grouped")
}

func TestTasksOfAnEarlierBootAreGoneAndTheirExitsKept(t *testing.T) {
	b := newBench(t)
	b.start(b.spec(dcos.KindProcess, "ended", "exit 4"))
	b.wait("ended")
	b.start(b.spec(dcos.KindProcess, "running", "sleep 1000"))
	b.r.boot = "another"
	if st, err := b.r.Adopt(t.Context(), "ended"); err != nil || st.State != Ended || st.Exit.Code != 4 {
		t.Errorf("ended: %+v, %v", st, err)
	}
	if st, err := b.r.Adopt(t.Context(), "running"); err != nil || st.State != Gone {
		t.Errorf("running: %+v, %v", st, err)
	}
	b.restart()
}

func FuzzDecodeExit(f *testing.F) {
	f.Add([]byte(`{"code":-1,"signal":9,"oom_kills":1,"at_ms":1,"dropped":[0,0],"failure":""}`))
	f.Add([]byte(`{"code":1e400}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if exit, err := decodeExit(text); err == nil && exit.Unknown {
			t.Fatalf("%q is of an unknown end: %+v", text, exit)
		}
	})
}
