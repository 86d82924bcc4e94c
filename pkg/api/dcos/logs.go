package dcos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/sandbox"
)

// Logs is an agent's store of what its tasks wrote.
type Logs interface {
	Open(id dcos.TaskID, stream string, offset int64) (*sandbox.Log, error)
	Follow(ctx context.Context, id dcos.TaskID, stream string, offset int64) (*sandbox.Log, error)
}

var _ Logs = (*sandbox.Sandboxes)(nil)

// AgentConfig is what an agent's own API stands on.
type AgentConfig struct {
	Node   dcos.NodeID
	Logs   Logs
	Images Images
	Log    *slog.Logger
}

type agentServer struct{ AgentConfig }

// AgentRoutes are the API of an agent, which only masters reach: the logs of
// its tasks in the manner of dcos-log, version 2 (dcos-api section 2.4), and
// its images.
func AgentRoutes(c AgentConfig) api.Dialect {
	a := &agentServer{c}
	return api.Dialect{Name: "agent", WriteError: api.WriteProblem, Routes: []api.Route{{
		Method: http.MethodGet, Pattern: "/system/v1/agent/{node}/logs/v2/task/{rest...}",
		Access: api.Permitted, Need: need("/logs", auth.ActionRead), Stream: true,
		Handler: api.Handle(c.Log, api.WriteProblem, a.taskLog),
	}, {
		Method: http.MethodGet, Pattern: "/system/v1/agent/{node}/images",
		Access: api.Permitted, Need: need("/nodes", auth.ActionRead),
		Handler: api.Handle(c.Log, api.WriteProblem, a.images),
	}}}
}

// logPath splits TASK[/file/FILE[/download]]; stdout is what one gets without
// asking for a file.
func logPath(rest string) (task dcos.TaskID, file string, download bool, err error) {
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	file = sandbox.Stdout
	if n := len(parts); n > 1 && parts[n-1] == "download" {
		download, parts = true, parts[:n-1]
	}
	switch {
	case len(parts) == 3 && parts[1] == "file" && parts[2] != "":
		file = parts[2]
	case len(parts) != 1:
		return "", "", false, fmt.Errorf("%w: no log at %.200q, expected TASK/file/stdout", api.ErrNoRoute, rest)
	}
	return dcos.TaskID(parts[0]), file, download, nil
}

// findLog sends a client that knows a task's id only to the agent that has its
// logs.
func (s *server) findLog(w http.ResponseWriter, r *http.Request) error {
	task, file, download, err := logPath(r.PathValue("rest"))
	if err != nil {
		return err
	}
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	k, ok := v.Task(task)
	switch {
	case !ok:
		return fmt.Errorf("task %.120q: %w", task, dcos.ErrNotFound)
	case k.Node == "":
		return fmt.Errorf("task %s has no node yet, so it has written nothing: %w", task, dcos.ErrNotFound)
	}
	to := "/system/v1/agent/" + url.PathEscape(string(k.Node)) + "/logs/v2/task/" + url.PathEscape(string(task)) + "/file/" + url.PathEscape(file)
	if download {
		to += "/download"
	}
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to) // relative: never by the Host that the client claims
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// Limits of one log request.
const (
	maxLine  = 16 << 10 // longer lines are cut into several
	maxSkip  = 1 << 20
	tailMost = 8 << 20 // how far back a number of lines is looked for
)

// logQuery is where to begin and how much to give.
type logQuery struct {
	end   bool  // begin at the end
	at    int64 // or at this offset
	skip  int64 // lines, after finding the beginning; negative goes back
	limit int64 // lines; 0 is all
}

func parseLogQuery(r *http.Request) (logQuery, error) {
	var out logQuery
	q := r.URL.Query()
	cursor := q.Get("cursor")
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		cursor = id
		q.Del("skip") // it was done when the stream began
	}
	var err error
	number := func(name, text string, least, most int64) int64 {
		n, e := strconv.ParseInt(text, 10, 64)
		if e != nil || n < least || n > most {
			err = errors.Join(err, fmt.Errorf("%w: %s %.40q, expected a number from %d to %d", dcos.ErrInvalid, name, text, least, most))
		}
		return n
	}
	switch cursor {
	case "", "BEG":
	case "END":
		out.end = true
	default:
		out.at = number("cursor", cursor, 0, 1<<62)
	}
	if q.Has("skip") {
		out.skip = number("skip", q.Get("skip"), -maxSkip, maxSkip)
	}
	if q.Has("limit") {
		out.limit = number("limit", q.Get("limit"), 1, 1<<40)
	}
	return out, err
}

func (a *agentServer) taskLog(w http.ResponseWriter, r *http.Request) error {
	if node := r.PathValue("node"); node != string(a.Node) {
		return fmt.Errorf("this is node %s, not %.80q: %w", a.Node, node, dcos.ErrNotFound)
	}
	task, file, download, err := logPath(r.PathValue("rest"))
	if err != nil {
		return err
	}
	q, err := parseLogQuery(r)
	if err != nil {
		return err
	}
	if file != sandbox.Stdout && file != sandbox.Stderr {
		w.WriteHeader(http.StatusNoContent) // dcos-log's answer where there is no such file
		return nil
	}
	start, err := a.start(task, file, q)
	if err != nil {
		return err
	}
	skip := max(q.skip, 0)
	o := logOutput{w: w, file: file, task: task, node: a.Node, skip: skip, limit: q.limit}
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") && !download {
		return a.follow(w, r, &o, start)
	}
	l, err := a.Logs.Open(task, file, start)
	if err != nil {
		return err
	}
	defer l.Close()
	w.Header().Set("Cache-Control", "no-cache")
	o.json = strings.Contains(r.Header.Get("Accept"), "application/json")
	o.header(download)
	_, err = o.lines(l)
	if err != nil && !o.wrote {
		return err
	}
	if !o.wrote {
		w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

// start is the offset at which a request begins to read.
func (a *agentServer) start(task dcos.TaskID, file string, q logQuery) (int64, error) {
	at := q.at
	if q.end {
		l, err := a.Logs.Open(task, file, -1)
		if err != nil {
			return 0, err
		}
		n, err := io.Copy(io.Discard, io.LimitReader(l, 1))
		at = l.Offset()
		l.Close()
		if err != nil || n == 0 && at == 0 {
			return 0, err
		}
	}
	if q.skip >= 0 {
		return at, nil
	}
	return a.back(task, file, at, -q.skip)
}

// back finds the beginning of the n-th line before an offset, looking at ever
// larger parts of what lies before.
func (a *agentServer) back(task dcos.TaskID, file string, at, n int64) (int64, error) {
	for size := int64(64 << 10); ; size *= 4 {
		from := max(0, at-size)
		l, err := a.Logs.Open(task, file, from)
		if err != nil {
			return 0, err
		}
		text, err := io.ReadAll(io.LimitReader(l, at-from))
		first := l.Offset() - int64(len(text)) // later than asked for where old parts are gone
		l.Close()
		if err != nil {
			return 0, err
		}
		text = text[:max(0, min(int64(len(text)), at-first))]
		if i, found := lineBefore(text, n); found || first <= 0 || first > from || size >= tailMost {
			return first + int64(i), nil
		}
	}
}

// lineBefore is where the last n lines of a text begin; a line need not end.
func lineBefore(text []byte, n int64) (at int, found bool) {
	end := len(text)
	if end > 0 && text[end-1] == '\n' {
		end--
	}
	for ; n > 0; n-- {
		i := bytes.LastIndexByte(text[:end], '\n')
		if i < 0 {
			return 0, false
		}
		end = i
	}
	return end + 1, true
}

// entry is one line as clients get it.
func (o *logOutput) entry(offset int64, line []byte, next int64) client.LogEntry {
	text := string(bytes.ToValidUTF8(line, []byte("\ufffd")))
	return client.LogEntry{
		LogLine: client.LogLine{Offset: offset, Text: text}, Cursor: strconv.FormatInt(next, 10),
		Fields: map[string]string{"MESSAGE": text, "AGENT_ID": string(o.node), "EXECUTOR_ID": "", "CONTAINER_ID": string(o.task), "FRAMEWORK_ID": "", "FILE": o.file},
	}
}

// logOutput cuts a log into lines and writes them.
type logOutput struct {
	w     http.ResponseWriter
	file  string
	task  dcos.TaskID
	node  dcos.NodeID
	json  bool
	skip  int64
	limit int64 // 0: no limit
	wrote bool
}

func (o *logOutput) header(download bool) {
	h := o.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if o.json {
		h.Set("Content-Type", "application/json")
	}
	if download {
		h.Set("Content-Disposition", "attachment; filename="+strconv.Quote(string(o.task)+"."+o.file))
	}
}

// lines writes all lines of a reader; done says that the limit was reached.
func (o *logOutput) lines(l *sandbox.Log) (done bool, err error) {
	c := cutter{at: l.Offset()}
	buf := make([]byte, 64<<10)
	for {
		n, err := l.Read(buf)
		if at := l.Offset() - int64(n); at != c.end() {
			c.jump(at)
		}
		done, werr := c.feed(buf[:n], o.line)
		if werr != nil || done {
			return done, werr
		}
		if err != nil {
			_, werr := c.flush(o.line)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return false, errors.Join(err, werr)
		}
	}
}

// line writes one line, unless it is to be skipped.
func (o *logOutput) line(offset int64, line []byte, next int64) (done bool, err error) {
	if o.skip > 0 {
		o.skip--
		return false, nil
	}
	o.wrote = true
	if o.json {
		if line, err = json.Marshal(o.entry(offset, line, next)); err != nil {
			return false, err
		}
	}
	if _, err = o.w.Write(append(line[:len(line):len(line)], '\n')); err != nil {
		return false, err
	}
	return o.took(), nil
}

func (o *logOutput) took() (done bool) {
	if o.limit == 0 {
		return false
	}
	o.limit--
	return o.limit == 0
}
