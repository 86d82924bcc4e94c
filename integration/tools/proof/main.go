// Command proof runs the integration tests and judges them against proof.yaml.
//
// It owns the verdict of `make integration`: one line of counts over top-level
// tests at the end, and an exit status that is zero only when at least one test
// ran, none failed, none was skipped, and every line of proof.yaml whose tests
// were asked for is shown as it says. It promises that a missing test, a build
// failure or a crash never looks like success. It must not change anything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	run := flag.String("run", ".", "run the top-level tests whose name matches this expression")
	timeout := flag.Duration("timeout", 45*time.Minute, "give up on one package's tests after this time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := prove(ctx, os.Stdout, *run, *timeout)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

var errNotProven = errors.New("not proven")

// prove works in the current directory, the root of the module. What it has to
// say is on out, the counts last; the error only says that it is not good.
func prove(ctx context.Context, out io.Writer, run string, timeout time.Duration) error {
	problems := []string{}
	asked, err := readProof(".", run)
	if err != nil {
		problems = append(problems, err.Error())
	}
	packages, err := testPackages(ctx)
	if err != nil {
		problems = append(problems, err.Error())
	}
	got := newResults(out)
	if len(packages) > 0 {
		if err := runTests(ctx, got, packages, run, timeout); err != nil {
			problems = append(problems, err.Error())
		}
	}
	problems = append(problems, got.problems()...)
	problems = append(problems, asked.missing(got)...)
	for _, p := range problems {
		fmt.Fprintln(out, "NOT PROVEN:", p)
	}
	got.tellFailures(out)
	passed, failed, skipped := got.counts()
	if passed+failed+skipped == 0 {
		problems = append(problems, "nothing ran")
		fmt.Fprintf(out, "NOT PROVEN: no test matches %q\n", run)
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if len(problems) > 0 || failed > 0 || skipped > 0 {
		return errNotProven
	}
	return nil
}

// testPackages lists the packages of integration tests, without these tools.
func testPackages(ctx context.Context) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "./integration/...")
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the integration packages: %w", err)
	}
	var out []string
	for _, p := range strings.Fields(string(text)) {
		if !strings.Contains(p, "/integration/tools/") {
			out = append(out, p)
		}
	}
	return out, nil
}

// besides is how many of the tests that allow it run beside each other. They
// mostly wait, so that it has nothing to do with the number of processors.
const besides = 6

// runTests feeds the events of `go test` to got. Packages run one after the
// other: their tests share this machine's interfaces and control groups.
func runTests(ctx context.Context, got *results, packages []string, run string, timeout time.Duration) error {
	args := append([]string{
		"test", "-json", "-count=1", "-p=1", "-parallel", strconv.Itoa(besides), "-run", run, "-timeout", timeout.String(),
	}, packages...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("read from go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start go test: %w", err)
	}
	readErr := got.read(events)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	return readErr
}
