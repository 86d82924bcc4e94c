package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// inputLimit is the most that is read from a file or standard input.
const inputLimit = 16 << 20

// readFileOrStdin reads a file that the user names; "-" is standard input.
func readFileOrStdin(e *Env, name string) ([]byte, error) {
	in, what := e.In, "standard input"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fileError(err)
		}
		defer f.Close()
		in, what = f, name
	}
	b, err := io.ReadAll(io.LimitReader(in, inputLimit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	if len(b) > inputLimit {
		return nil, usagef("%s: more than %d MiB", what, inputLimit>>20)
	}
	return b, nil
}

// confirm asks a person to type a word before something that cannot be undone.
// Without a person it fails: scripts say --yes.
func confirm(e *Env, warning, word string) error {
	if !e.TTY {
		return usagef("%s Say --yes to do it without being asked", warning)
	}
	fmt.Fprintf(e.Err, "%s\nType %q to go on: ", warning, word)
	answer, err := readLine(e.In)
	if err != nil {
		return err
	}
	if answer != word {
		return errors.New("nothing was done")
	}
	return nil
}

// readLine reads one line and not a byte more, so that what follows is left for
// the next question.
func readLine(in io.Reader) (string, error) {
	r := bufio.NewReaderSize(oneByte{in}, 16)
	line, err := r.ReadString('\n')
	if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// oneByte reads byte by byte.
type oneByte struct{ io.Reader }

// Read reads at most one byte.
func (o oneByte) Read(b []byte) (int, error) {
	if len(b) > 1 {
		b = b[:1]
	}
	return o.Reader.Read(b)
}
