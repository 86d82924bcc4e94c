package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newBoxes(t *testing.T) *Sandboxes {
	t.Helper()
	s, err := New(filepath.Join(t.TempDir(), "sandboxes"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s *Sandboxes, id dcos.TaskID) string {
	t.Helper()
	dir, err := s.Create(id, "")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestNameOfADirectoryIsSafeAndUnique(t *testing.T) {
	t.Parallel()
	if got := DirName("web.instance-1._app.1"); got != "web.instance-1._app.1" {
		t.Errorf("a usual id became %q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := dcos.TaskID(rapid.String().Draw(t, "a")), dcos.TaskID(rapid.String().Draw(t, "b"))
		x, y := DirName(a), DirName(b)
		if x == "" || len(x) > 240 || strings.ContainsAny(x, "/\x00") || x[0] == '.' || strings.HasSuffix(x, idSuffix) {
			t.Fatalf("%q became %q", a, x)
		}
		if (a == b) != (x == y) || DirName(dcos.TaskID(x)) != x && !strings.Contains(x, "~") {
			t.Fatalf("%q and %q became %q and %q", a, b, x, y)
		}
	})
}

func TestSandboxIsPrivateListedAndRemoved(t *testing.T) {
	t.Parallel()
	s := newBoxes(t)
	long := dcos.TaskID(strings.Repeat("x", 600))
	for _, id := range []dcos.TaskID{"b", "a", "with/slash", long} {
		dir := create(t, s, id)
		write(t, dir, "kept", "x")
		if again := create(t, s, id); again != dir {
			t.Errorf("second Create of %s: %s, want %s", id, again, dir)
		}
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
		if _, err := os.Stat(filepath.Join(dir, "kept")); err != nil {
			t.Error(err)
		}
	}
	s, err := New(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := s.List()
	if diff := cmp.Diff([]dcos.TaskID{"a", "b", "with/slash", long}, ids); diff != "" || err != nil {
		t.Errorf("List: %v\n%s", err, diff)
	}
	for _, id := range ids {
		for range 2 {
			if err := s.Remove(id); err != nil {
				t.Error(err)
			}
		}
	}
	if left, err := os.ReadDir(s.dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestRemovalCutShortIsFinishedAtTheNextStart(t *testing.T) {
	t.Parallel()
	s := newBoxes(t)
	dir := create(t, s, "a")
	write(t, dir, "f", "x")
	if err := os.Rename(dir, filepath.Join(s.dir, trashPrefix+"a")); err != nil {
		t.Fatal(err)
	}
	s, err := New(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := s.List(); err != nil || len(ids) != 0 {
		t.Errorf("before the second removal: %v, %v", ids, err)
	}
	if err := s.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestUnknownUsersAreRefused(t *testing.T) {
	t.Parallel()
	s := newBoxes(t)
	for _, user := range []string{"no-such-user", "4294967295", "1:4294967295", "99999999999999999999", "-1"} {
		if _, err := s.Create("a", user); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("user %q: %v", user, err)
		}
	}
}

func TestRemovalFollowsNoLinksAndTakesAnyDepth(t *testing.T) {
	t.Parallel()
	s := newBoxes(t)
	outside := t.TempDir()
	write(t, outside, "canary", "alive")
	dir := create(t, s, "deep")
	if err := os.Symlink(outside, filepath.Join(dir, "top-link")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, ".lifted-1", "in the way")
	at, err := unix.Open(dir, unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 { // deeper than any path can name
		err = errors.Join(unix.Mkdirat(at, "long-name-of-a-directory", 0o700), unix.Symlinkat(outside, at, "link"))
		next, oerr := unix.Openat(at, "long-name-of-a-directory", unix.O_DIRECTORY, 0)
		if err != nil || oerr != nil {
			t.Fatal(err, oerr)
		}
		unix.Close(at)
		at = next
	}
	unix.Close(at)
	if err := s.Remove("deep"); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if text, err := os.ReadFile(filepath.Join(outside, "canary")); err != nil || string(text) != "alive" {
		t.Errorf("a file outside: %q, %v", text, err)
	}
}

func TestUsageCountsWhatIsOnDisk(t *testing.T) {
	t.Parallel()
	s := newBoxes(t)
	dir := create(t, s, "a")
	write(t, dir, "full", strings.Repeat("x", 100<<10))
	if err := os.Truncate(filepath.Join(dir, "full"), 1<<30); err != nil { // sparse: large, but takes little
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(dir, "root")); err != nil {
		t.Fatal(err)
	}
	n, err := s.Usage(t.Context(), "a")
	if err != nil || n < 100<<10 || n > 1<<20 {
		t.Errorf("usage %d, %v", n, err)
	}
	if _, err := s.Usage(t.Context(), "none"); !errors.Is(err, dcos.ErrNotFound) {
		t.Errorf("of a task that has none: %v", err)
	}
}

func TestNoPathLeavesTheSandbox(t *testing.T) {
	t.Parallel()
	s := newBoxes(t)
	other := create(t, s, "other")
	write(t, other, "secret", "not yours")
	dir := create(t, s, "a")
	write(t, dir, "plain", "yours")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{
		"abs": "/etc/passwd", "up": "../other/secret", "dir": "..", "self": "plain", "loop": "loop", "sub/up": "../../other/secret", "sub/in": "../plain", "proc": "/proc/self/fd/0",
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"../other/secret", "/../other/secret", "../../etc/passwd", "/etc/passwd", "abs", "up", "dir/other/secret", "sub/up", "loop", "proc", "fifo", "sub", "",
		"..", "/", "a\x00b", "sub/../../other/secret", strings.Repeat("x/", 3000), "%2e%2e/other/secret", "....//other/secret", "plain/", "plain/../../other/secret",
	} {
		f, err := s.OpenFile("a", name)
		if err == nil {
			text, _ := io.ReadAll(f)
			f.Close()
			if name != "plain/" || string(text) != "yours" {
				t.Errorf("%.40q gave %q", name, text)
			}
			continue
		}
		if !errors.Is(err, dcos.ErrInvalid) && !errors.Is(err, dcos.ErrNotFound) {
			t.Errorf("%.40q: %v has no kind", name, err)
		}
	}
	for _, name := range []string{"plain", "/plain", "self", "sub/in", "./sub/../plain"} {
		f, err := s.OpenFile("a", name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if text, _ := io.ReadAll(f); string(text) != "yours" {
			t.Errorf("%q gave %q", name, text)
		}
		f.Close()
	}
	for _, name := range []string{"..", "dir", "../other", "/.."} {
		if list, err := s.ReadDir("a", name); err == nil && name != "/.." {
			t.Errorf("listing of %q: %v", name, list)
		}
	}
	list, err := s.ReadDir("a", "/")
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
	}
	if fmt.Sprint(names) != "[abs dir fifo loop plain proc self sub up]" || err != nil {
		t.Errorf("listing: %v, %v", names, err)
	}
}

// segments lays down a log as the shim does.
func segments(t *testing.T, dir string, first int, texts ...string) {
	t.Helper()
	var index strings.Builder
	offset := first * 10
	for i, text := range texts {
		name := fmt.Sprintf("stdout.%d", first+i)
		if i == len(texts)-1 {
			name = "stdout"
		}
		write(t, dir, name, text)
		fmt.Fprintf(&index, "%d %d %d\n", first+i, offset, 1_700_000_000_000)
		offset += len(text)
	}
	write(t, dir, ".stdout.index", index.String())
}

func TestLogReadsFromAnyOffsetAcrossSegments(t *testing.T) {
	t.Parallel()
	s := newBoxes(t)
	segments(t, create(t, s, "a"), 3, "aaaaaaaaaa", "bbbbbbbbbb", "ccc")
	for _, row := range []struct {
		offset, at int64
		want       string
	}{
		{0, 30, "aaaaaaaaaabbbbbbbbbbccc"},
		{30, 30, "aaaaaaaaaabbbbbbbbbbccc"},
		{39, 39, "abbbbbbbbbbccc"},
		{40, 40, "bbbbbbbbbbccc"},
		{52, 52, "c"},
		{53, 53, ""},
		{1000, 53, ""},
		{-4, 49, "bccc"},
		{-1000, 30, "aaaaaaaaaabbbbbbbbbbccc"},
	} {
		l, err := s.Open("a", Stdout, row.offset)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(l)
		if err != nil || string(text) != row.want || l.Offset() != row.at+int64(len(row.want)) {
			t.Errorf("from %d: %q, %v, ends at %d, want %q", row.offset, text, err, l.Offset(), row.want)
		}
		l.Close()
	}
	if text, at, err := s.Tail("a", Stdout, 5); err != nil || string(text) != "bbccc" || at != 48 {
		t.Errorf("tail: %q at %d, %v", text, at, err)
	}
	if text, at, err := s.Tail("a", Stderr, 5); err != nil || len(text) != 0 || at != 0 {
		t.Errorf("tail of a stream that was not begun: %q at %d, %v", text, at, err)
	}
	if _, err := s.Open("a", "../stdout", 0); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("another stream: %v", err)
	}
}

func TestFollowGoesOnThroughRotationAndDeletion(t *testing.T) {
	t.Parallel()
	s := newBoxes(t)
	dir := create(t, s, "a")
	ctx, cancel := context.WithCancel(t.Context())
	l, err := s.Follow(ctx, "a", Stdout, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	part := make([]byte, 100)
	next := func(want string) {
		t.Helper()
		n, err := l.Read(part)
		if err != nil || string(part[:n]) != want {
			t.Fatalf("read %q, %v, want %q", part[:n], err, want)
		}
	}
	segments(t, dir, 0, "one")
	next("one")
	f, err := os.OpenFile(filepath.Join(dir, "stdout"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(" and more"); err != nil {
		t.Fatal(err)
	}
	// Rotated before the reader saw the rest.
	if err := os.Rename(filepath.Join(dir, "stdout"), filepath.Join(dir, "stdout.0")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "stdout", "two")
	write(t, dir, ".stdout.index", "0 0 1\n1 12 2\n")
	next(" and more")
	next("two")
	if l.Offset() != 15 {
		t.Errorf("offset %d, want 15", l.Offset())
	}
	// Segments that came and went unread.
	if err := os.Remove(filepath.Join(dir, "stdout")); err != nil {
		t.Fatal(err)
	}
	segments(t, dir, 7, "seven", "eight")
	next("seven")
	next("eight")
	cancel()
	if n, err := l.Read(part); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the end of the context: %d, %v", n, err)
	}
}

func TestSpoiledLogsAreHarmless(t *testing.T) {
	t.Parallel()
	s := newBoxes(t)
	secret := t.TempDir()
	write(t, secret, "stdout", "secret")
	for i, spoil := range []func(dir string) error{
		func(dir string) error {
			return os.Symlink(filepath.Join(secret, "stdout"), filepath.Join(dir, "stdout"))
		},
		func(dir string) error { return unix.Mkfifo(filepath.Join(dir, "stdout"), 0o600) },
		func(dir string) error { return os.Mkdir(filepath.Join(dir, "stdout"), 0o700) },
		func(dir string) error {
			return os.WriteFile(filepath.Join(dir, ".stdout.index"), []byte("-1 x\n"), 0o600)
		},
		func(dir string) error {
			_ = os.Remove(filepath.Join(dir, ".stdout.index"))
			return unix.Mkfifo(filepath.Join(dir, ".stdout.index"), 0o600)
		},
	} {
		id := dcos.TaskID(fmt.Sprint("a", i))
		dir := create(t, s, id)
		write(t, dir, ".stdout.index", "0 0 1\n")
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		text, _, err := s.Tail(id, Stdout, 100)
		if len(text) > 0 {
			t.Errorf("spoiled %d: gave %q, %v", i, text, err)
		}
	}
}

func TestSegmentsKeepToTheBound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.Int64Range(0, 1<<50).Draw(t, "bound")
		size, count := Segments(bound)
		if size < minSegment || count < 1 || count > maxSegments || bound > 2*minSegment && size*int64(count) > bound {
			t.Fatalf("bound %d: %d segments of %d", bound, count, size)
		}
	})
}

func FuzzReadIndex(f *testing.F) {
	f.Add([]byte("0 0 1\n1 100 2\n"))
	f.Add([]byte("4294967295 9223372036854775807 0\n"))
	f.Add([]byte("0 0 1\n2 5 2\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		row, err := readIndex(bytes.NewReader(text))
		if err != nil {
			return
		}
		for i, s := range row {
			if s.offset < 0 || i > 0 && (s.number <= row[i-1].number || s.offset < row[i-1].offset) || len(row) > maxSegments {
				t.Fatalf("%q gave %+v", text, row)
			}
		}
	})
}
