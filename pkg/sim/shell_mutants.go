package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// mutant is a bug to be planted: in one file a text is replaced by another.
type mutant struct {
	name   string
	file   string // below the module
	breaks string
	before string
	after  string
}

// mutantSeeds is how many seeds may be needed to catch a bug.
const mutantSeeds = 100

// runMutants builds the simulator once per mutant and runs seeds until the bug
// is caught. A bug that is not caught means that the simulator is too weak.
func runMutants(ctx context.Context, o Options, out io.Writer) error {
	tool, err := exec.LookPath("go")
	if err != nil {
		return errors.New("sim: planted bugs need a Go toolchain to be built, and `go` was not found: install Go or leave --mutants out")
	}
	root, err := sourceRoot(o.Source)
	if err != nil {
		return err
	}
	all, err := readMutants(root, o.Mutant)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "dcos-mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p := panel{o: o, out: out, tool: tool, root: root, dir: dir, queue: all}
	p.o.Jobs = 1 // of each; as many bugs at once as there are jobs
	var work sync.WaitGroup
	for range max(o.Jobs, 1) {
		work.Go(func() { // until every bug was looked for, or ctx ends
			for m, ok := p.next(); ok && ctx.Err() == nil; m, ok = p.next() {
				p.look(ctx, m)
			}
		})
	}
	work.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	fmt.Fprintf(out, "sim: %d of %d planted bugs caught, within %d seeds and %v\n", len(all)-p.missed, len(all), p.seeds, p.longest.Round(100*time.Millisecond))
	if p.missed > 0 {
		return ErrFound
	}
	return nil
}

// panel looks for bugs side by side: one is built while another is run.
type panel struct {
	o               Options
	out             io.Writer
	tool, root, dir string

	mu      sync.Mutex
	queue   []mutant      // guarded by mu, as all below
	missed  int           // not caught, or not to be planted
	seeds   int           // that the hardest to catch took
	longest time.Duration // likewise
}

func (p *panel) next() (mutant, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return mutant{}, false
	}
	m := p.queue[0]
	p.queue = p.queue[1:]
	return m, true
}

// look builds one mutant and runs seeds until it is caught.
func (p *panel) look(ctx context.Context, m mutant) {
	from := time.Now()
	program, err := m.build(ctx, p.tool, p.root, p.dir)
	built := time.Since(from)
	var t tally
	if err == nil {
		t, err = spread(ctx, p.o, []string{program}, mutantSeeds, true)
		_ = os.Remove(program)
	}
	ran := time.Since(from) - built
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case err != nil:
		p.missed++
		fmt.Fprintf(p.out, "mutant %-34s CANNOT BE TRIED: %v\n", m.name, err)
	case len(t.failed) == 0:
		p.missed++
		fmt.Fprintf(p.out, "mutant %-34s NOT CAUGHT by %d seeds in %v: %s\n", m.name, t.runs, ran.Round(100*time.Millisecond), m.breaks)
	default:
		p.seeds, p.longest = max(p.seeds, t.runs), max(p.longest, ran)
		f := t.failed[0]
		what, _, _ := strings.Cut(f.Violation, "\n")
		fmt.Fprintf(p.out, "mutant %-34s caught by seed %d within %d runs (built in %v, run in %v): %.160s\n",
			m.name, f.Seed, t.runs, built.Round(100*time.Millisecond), ran.Round(100*time.Millisecond), what)
	}
}

// sourceRoot is the module's directory, at or above the working directory.
func sourceRoot(named string) (string, error) {
	dir := named
	if dir == "" {
		var err error
		if dir, err = os.Getwd(); err != nil {
			return "", err
		}
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "pkg", "sim", "mutants")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("sim: no source tree of dcos at or above %s: planted bugs are built from it, name it by --source", dir)
		}
	}
}

// readMutants reads all mutants, or the one that is named.
func readMutants(root, only string) ([]mutant, error) {
	base := filepath.Join(root, "pkg", "sim", "mutants")
	files, err := filepath.Glob(filepath.Join(base, "*", "mutant.txt"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all []mutant
	for _, f := range files {
		name := filepath.Base(filepath.Dir(f))
		if only != "" && only != name {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		m, err := parseMutant(name, string(text))
		if err != nil {
			return nil, fmt.Errorf("sim: mutant %s: %w", name, err)
		}
		all = append(all, m)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("sim: no mutant %q in %s", only, base)
	}
	return all, nil
}

// parseMutant reads "file: ...", "breaks: ...", then the text to be replaced
// behind a line "--- before" and the other one behind a line "--- after".
func parseMutant(name, text string) (mutant, error) {
	m := mutant{name: name}
	head, rest, ok := strings.Cut(text, "\n--- before\n")
	if !ok {
		return m, errors.New("no line `--- before`")
	}
	if m.before, m.after, ok = strings.Cut(rest, "\n--- after\n"); !ok {
		return m, errors.New("no line `--- after`")
	}
	m.after = strings.TrimSuffix(m.after, "\n")
	for line := range strings.SplitSeq(head, "\n") {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "file":
			m.file = strings.TrimSpace(value)
		case "breaks":
			m.breaks = strings.TrimSpace(value)
		}
	}
	if m.file == "" || m.breaks == "" || m.before == m.after {
		return m, errors.New("it must name a file and what it breaks, and change something")
	}
	return m, nil
}

// plant gives the file's text with the bug in it. A text that is not there
// exactly once means that the mutant has rotted.
func (m mutant) plant(source string) (string, error) {
	if n := strings.Count(source, m.before); n != 1 {
		return "", fmt.Errorf("sim: mutant %s: the text to be replaced is %d times in %s, expected once: write it anew", m.name, n, m.file)
	}
	return strings.Replace(source, m.before, m.after, 1), nil
}

// build makes the simulator with the bug; the source tree stays as it is.
func (m mutant) build(ctx context.Context, tool, root, dir string) (program string, err error) {
	place := filepath.Join(root, filepath.FromSlash(m.file))
	source, err := os.ReadFile(place)
	if err != nil {
		return "", fmt.Errorf("sim: mutant %s: %w", m.name, err)
	}
	text, err := m.plant(string(source))
	if err != nil {
		return "", err
	}
	planted := filepath.Join(dir, m.name+".go")
	overlay := filepath.Join(dir, m.name+".json")
	program = filepath.Join(dir, m.name)
	spec, err := json.Marshal(map[string]map[string]string{"Replace": {place: planted}})
	if err != nil {
		return "", err
	}
	err = errors.Join(os.WriteFile(planted, []byte(text), 0o600), os.WriteFile(overlay, spec, 0o600))
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, tool, "build", "-ldflags=-s -w", "-overlay", overlay, "-o", program, "./pkg/sim/simmain")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("sim: mutant %s does not build: %w\n%s", m.name, err, text)
	}
	return program, nil
}
