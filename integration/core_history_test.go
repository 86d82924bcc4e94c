package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/history"
	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/pkg/client"
)

// What a history is made of.
const (
	historyClients  = 16
	historyClusters = 2 // that histories are made on at once
	historyApps     = 16
	historyRequests = 1000 // at least
	historySpan     = 7 * time.Second
	historyLimit    = 2 * time.Minute  // for the requests and for the peace after
	judgeLimit      = 2 * time.Minute  // for the verdict
	requestLimit    = 3 * time.Second  // of one request; then its outcome is unknown
	finalLimit      = 30 * time.Second // for the reads at the end
)

// number is a whole number of the environment.
func number(t *testing.T, name string, unset uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return unset
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// recorded is what all histories of a test have seen together.
type recorded struct {
	seen              injured
	requests, unknown atomic.Int64
}

// More histories by DCOS_HISTORIES; DCOS_SEED brings back the operations and
// faults of a seed, though not their exact moments.
func TestCoreHistoriesUnderFaultsAreLinearizable(t *testing.T) {
	beside(t)
	n, seed := number(t, "DCOS_HISTORIES", 20), number(t, "DCOS_SEED", rand.Uint64()>>1)
	all := &recorded{seen: injured{times: map[string]int{}}}
	t.Run("clusters", func(t *testing.T) {
		for lane := range min(n, historyClusters) {
			t.Run(strconv.FormatUint(lane, 10), func(t *testing.T) {
				beside(t)
				c := newCluster(t, 3, 0)
				for i := lane; i < n && !t.Failed(); i += historyClusters {
					c.oneHistory(t, seed+i, int(i), all)
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	times := all.seen.times
	t.Logf("%d histories with %d requests, %d of unknown outcome: 0 illegal, 0 undecided; faults: %v", n, all.requests.Load(), all.unknown.Load(), times)
	if n < 20 {
		return
	}
	for _, f := range slices.Concat(processFaults, networkFaults) {
		if times[f.name] == 0 {
			t.Errorf("the fault %q did not happen", f.name)
		}
	}
}

// oneHistory records a history and judges it.
func (c *cluster) oneHistory(t *testing.T, seed uint64, first int, all *recorded) {
	t.Helper()
	began := time.Now()
	h := c.record(t, seed, first, &all.seen, processFaults, networkFaults)
	took, unknown := time.Since(began), h.Count(history.Unknown)
	all.requests.Add(int64(h.Requests()))
	all.unknown.Add(int64(unknown))
	began = time.Now()
	v := h.Judge(judgeLimit)
	t.Logf("history %d, seed %d: %d requests, %d of unknown outcome, within %v; judged in %v", first, seed, h.Requests(), unknown,
		took.Round(10*time.Millisecond), time.Since(began).Round(time.Millisecond))
	if len(v.Problems) > 0 {
		t.Logf("these have no order:\n%s", v.Culprits)
		page := filepath.Join(os.TempDir(), fmt.Sprintf("dcos-history-%d.html", seed))
		t.Fatalf("seed %d: %s; the history is drawn in %s (%v)", seed, strings.Join(v.Problems, "; "), page, v.Draw(page))
	}
}

// record lets clients work while faults of several kinds happen, one of each at
// a time, and ends in peace.
func (c *cluster) record(t *testing.T, seed uint64, first int, seen *injured, kinds ...[]fault) *history.Recorder {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), historyLimit)
	defer cancel()
	prefix := fmt.Sprintf("/h%d", seed)
	rec := history.NewRecorder()
	if err := c.peace(ctx); err != nil {
		t.Fatal(err)
	}
	faulty, endFaults := context.WithTimeout(ctx, historySpan)
	defer endFaults()
	var faults, clients sync.WaitGroup
	for i, kind := range kinds {
		dice := rand.New(rand.NewPCG(seed, uint64(i+1)<<32))
		faults.Go(func() { c.injure(faulty, t, dice, kind, first, seen) })
	}
	working, endWork := context.WithCancel(ctx)
	defer endWork()
	for i := range historyClients {
		w := c.newWorker(t, rec, i, prefix, rand.New(rand.NewPCG(seed, uint64(i))))
		clients.Go(func() { w.work(working, faulty, t) })
	}
	faults.Wait()
	clients.Wait()
	if rec.Requests() < historyRequests {
		t.Fatalf("seed %d: %d requests within %v, want %d at least", seed, rec.Requests(), historyLimit, historyRequests)
	}
	if err := c.peace(ctx); err != nil {
		t.Fatalf("seed %d: after the faults: %v", seed, err)
	}
	// What each master says in the end is a part of the history.
	for i := range c.masters {
		w := c.newWorker(t, rec, historyClients+i, prefix, nil)
		w.at = i
		err := until(ctx, finalLimit, func() error { return w.list(ctx) })
		if err != nil {
			t.Errorf("seed %d: final read from %s: %v", seed, c.masters[i].Name(), err)
		}
	}
	return rec
}

// peace waits until all masters vote and answer.
func (c *cluster) peace(ctx context.Context) error {
	if err := c.net.HealAll(); err != nil {
		return err
	}
	return c.whole(ctx)
}

// worker is one client of a history. It talks to one master at a time.
type worker struct {
	rec    *history.Recorder
	me     int
	prefix string
	apis   []*client.Client
	at     int
	dice   *rand.Rand
	writes int
	seen   map[string]string // version by app, as this client has read it
}

func (c *cluster) newWorker(t *testing.T, rec *history.Recorder, me int, prefix string, dice *rand.Rand) *worker {
	t.Helper()
	w := &worker{rec: rec, me: me, prefix: prefix, at: me % len(c.masters), dice: dice, seen: map[string]string{}}
	for _, h := range c.masters {
		w.apis = append(w.apis, c.own(t, h))
	}
	return w
}

// own is a client of one master with connections of its own.
func (c *cluster) own(t *testing.T, h *hosts.Host) *client.Client {
	t.Helper()
	transport := c.http.Transport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	api, err := client.New(client.Config{URL: apiURL(h), Token: c.token, HTTP: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// work goes on until the faults are over and enough has been asked.
func (w *worker) work(ctx, faulty context.Context, t *testing.T) {
	for ctx.Err() == nil && (faulty.Err() == nil || w.rec.Requests() < historyRequests) {
		if w.dice.IntN(5) == 0 {
			w.at = w.dice.IntN(len(w.apis))
		}
		one, cancel := context.WithTimeout(ctx, requestLimit)
		err := w.once(one)
		cancel()
		if err != nil && ctx.Err() == nil {
			t.Errorf("client %d: %v", w.me, err)
		}
		_ = pause(ctx, time.Duration(w.dice.Int64N(int64(40*time.Millisecond)))) // ends with ctx, as the loop does
	}
}

// once makes one request and records what it was told.
func (w *worker) once(ctx context.Context) error {
	in := history.Input{Key: fmt.Sprintf("%s/k%d", w.prefix, w.dice.IntN(historyApps))}
	switch n := w.dice.IntN(100); {
	case n < 4:
		err := w.list(ctx)
		if err != nil {
			_, _, err = w.judge(in, history.Output{}, err)
		}
		return err
	case n < 40:
		in.Kind = history.Read
	case n < 55:
		in.Kind = history.Create
	case n < 78:
		in.Kind = history.Replace
	case n < 90:
		in.Kind = history.Patch
	default:
		in.Kind = history.Delete
	}
	if in.Kind != history.Read && in.Kind != history.Delete {
		w.writes++
		in.Value = fmt.Sprintf("%d.%d", w.me, w.writes)
	}
	if (in.Kind == history.Replace || in.Kind == history.Patch) && w.dice.IntN(2) == 0 {
		in.IfMatch = w.seen[in.Key]
	}
	call := w.rec.Now()
	out, err := w.send(ctx, in)
	end := w.rec.Now()
	out, told, err := w.judge(in, out, err)
	if told {
		w.rec.Add(w.me, call, end, history.Operation{Input: in, Output: out})
		if out.Version != "" {
			w.seen[in.Key] = out.Version
		}
	}
	return err
}

// The definition of a value, and how to find it again.
const fullMark = "true # "

func wholeApp(in history.Input) []byte {
	return fmt.Appendf(nil, `{"id": %q, "cmd": %q, "instances": 0, "labels": {"part": %q}}`, in.Key, fullMark+in.Value, in.Value)
}

func found(a client.App) history.Output {
	return history.Output{Outcome: history.Done, Full: strings.TrimPrefix(a.Cmd, fullMark), Part: a.Labels["part"], Version: a.Version}
}

func (w *worker) send(ctx context.Context, in history.Input) (history.Output, error) {
	api, done := w.apis[w.at], history.Output{Outcome: history.Done}
	how := client.Write{Force: true, Replace: in.Kind == history.Replace, IfMatch: in.IfMatch}
	var res client.DeploymentResult
	var err error
	switch in.Kind {
	case history.Read:
		a, err := api.App(ctx, in.Key)
		return found(a), err
	case history.Create:
		a, err := api.CreateApp(ctx, wholeApp(in))
		done.Version = a.Version
		return done, err
	case history.Replace:
		res, err = api.PutApp(ctx, in.Key, wholeApp(in), how)
	case history.Patch:
		res, err = api.PatchApp(ctx, in.Key, fmt.Appendf(nil, `{"labels": {"part": %q}}`, in.Value), how)
	default:
		_, err = api.DeleteApp(ctx, in.Key, how)
	}
	done.Version = res.Version
	return done, err
}

// judge says what an answer tells about the app; told is false when it tells
// nothing, the error is about what should never be answered.
func (w *worker) judge(in history.Input, done history.Output, err error) (out history.Output, told bool, _ error) {
	var refusal *client.Error
	write := in.Kind != history.Read
	is := func(o history.Outcome) history.Output { return history.Output{Outcome: o} }
	switch {
	case err == nil:
		return done, true, nil
	case !errors.As(err, &refusal):
		return is(history.Unknown), write && !isDialing(err), nil
	case refusal.Code == "unknown_outcome", write && refusal.Status >= 500 && refusal.Status != http.StatusServiceUnavailable:
		return is(history.Unknown), write, nil
	case refusal.Status == http.StatusServiceUnavailable, refusal.Status == http.StatusTooManyRequests:
		return out, false, nil
	case refusal.Status == http.StatusNotFound:
		return is(history.Missing), true, nil
	case refusal.Status == http.StatusPreconditionFailed:
		return is(history.Mismatch), true, nil
	case refusal.Status == http.StatusConflict && in.Kind == history.Create && strings.Contains(refusal.Message, "already exists"):
		return is(history.Exists), true, nil
	case refusal.Status == http.StatusConflict: // somebody else was in between, or the app is being deleted
		return out, false, nil
	}
	return out, false, fmt.Errorf("%v: %d: %w", in, refusal.Status, err)
}

// isDialing says that a request failed before anything of it was sent.
func isDialing(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// list reads all apps of the history at once.
func (w *worker) list(ctx context.Context) error {
	call := w.rec.Now()
	apps, err := w.apis[w.at].Apps(ctx, client.AppFilter{ID: w.prefix + "/"})
	end := w.rec.Now()
	if err != nil {
		return err
	}
	have := map[string]history.Output{}
	for _, a := range apps {
		have[a.ID] = found(a)
	}
	var did []history.Operation
	for k := range historyApps {
		key := fmt.Sprintf("%s/k%d", w.prefix, k)
		out, ok := have[key]
		if !ok {
			out = history.Output{Outcome: history.Missing}
		}
		did = append(did, history.Operation{Input: history.Input{Kind: history.Read, Key: key}, Output: out})
	}
	w.rec.Add(w.me, call, end, did...)
	return nil
}
