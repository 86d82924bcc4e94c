package node

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// notes keep what happens in which order.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, s)
}

func TestPartsEndInTheReverseOrderOfTheirStart(t *testing.T) {
	t.Parallel()
	var n notes
	ctx, cancel := context.WithCancel(t.Context())
	var started sync.WaitGroup
	waits := func(name string) part {
		started.Add(1)
		return part{name, func(ctx context.Context) error {
			started.Done()
			<-ctx.Done()
			n.add(name)
			return nil
		}}
	}
	parts := []part{waits("raft"), waits("scheduler"), waits("api")}
	done := make(chan error, 1)
	go func() { done <- runParts(ctx, slog.New(slog.DiscardHandler), parts) }()
	started.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := []string{"api", "scheduler", "raft"}; !slices.Equal(n.lines, want) {
		t.Errorf("ended in the order %v, want %v", n.lines, want)
	}
}

func TestTheFirstPartThatFailsEndsAllWithItsError(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	ended := make(chan struct{})
	err := runParts(t.Context(), slog.New(slog.DiscardHandler), []part{
		{"waits", func(ctx context.Context) error { <-ctx.Done(); close(ended); return nil }},
		{"raft", func(context.Context) error { return broken }},
	})
	<-ended
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "raft: ") {
		t.Errorf("got %v, want the error of the part named raft", err)
	}
	err = runParts(t.Context(), slog.New(slog.DiscardHandler), []part{{"api", func(context.Context) error { return nil }}})
	if err == nil || !strings.Contains(err.Error(), "api: ended") {
		t.Errorf("a part that ends early: %v", err)
	}
}

func TestASecondStartIsRefusedWithThePid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	release, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockDir(dir)
	if !errors.Is(err, dcos.ErrConflict) || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("second lock: %v, want a conflict with pid %d", err, os.Getpid())
	}
	release()
	release, err = lockDir(dir)
	if err != nil {
		t.Fatalf("lock after release: %v", err)
	}
	release()
}

func TestResourcesOfTheConfigurationReplaceWhatIsFound(t *testing.T) {
	t.Parallel()
	have := resource.Set{CPUs: 1000, Mem: 2000, Disk: 3000, Ports: defaultPorts}
	got, err := override(have, "cpus:2.5; mem:64;ports:[1-2,9-9]")
	if err != nil || got.String() != "cpus:2.5; mem:64; disk:3; ports:[1-2,9-9]" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"cpus", "cpus:x", "cpus:-1", "cpus:1e309", "mem:NaN", "ram:1", "ports:[9-1]"} {
		if got, err := override(have, bad); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
}

func TestIDsAreKept(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/sub/id"
	a, err := keptID(path, "n-")
	if err != nil || !strings.HasPrefix(a, "n-") || len(a) != 18 {
		t.Fatalf("id %q, %v", a, err)
	}
	if b, err := keptID(path, "n-"); err != nil || a != b {
		t.Errorf("second time %q, %v, want %q", b, err, a)
	}
}
