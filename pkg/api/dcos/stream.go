package dcos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// The rhythm of a stream.
const (
	flushEvery = 250 * time.Millisecond // changes of the same row in between are folded
	flushSoon  = 20 * time.Millisecond  // after a quiet time, only what comes together is folded
	lookEvery  = 2 * time.Second        // for what changes without a commit: who leads
	pingEvery  = 15 * time.Second
	usageEvery = 5 * time.Second // what machines really use, where this master knows it
)

// maxDirty bounds the rows that wait to be sent to one client; beyond it the
// client gets everything anew.
const maxDirty = 20_000

// topics are what a stream can show, in the order of a snapshot, with the
// permission that each needs.
var topics = []struct {
	name string
	need auth.Permission
}{
	{"cluster", need("/cluster", auth.ActionRead)},
	{"nodes", need("/nodes", auth.ActionRead)},
	{"services", need("/apps", auth.ActionRead)},
	{"tasks", need("/apps", auth.ActionRead)},
	{"packages", need("/packages", auth.ActionRead)},
	{"deployments", need("/apps", auth.ActionRead)},
}

// stream answers GET /dcos/v1/stream?topics=nodes,tasks&app=/only/this.
func (s *server) stream(w http.ResponseWriter, r *http.Request) error {
	st, since, err := s.newStream(r)
	if err != nil {
		return err
	}
	watch, resumed, err := st.begin(r.Context(), since)
	if err != nil {
		return err
	}
	defer func() { watch.Stop() }()
	if st.out, err = api.StartEvents(w); err != nil {
		return nil // the client is gone
	}
	switch {
	case resumed:
		st.touch("cluster", "")
	case since != "" && st.send("reset", "", nil, "") != nil:
		return nil
	case st.snapshot() != nil:
		return nil
	}
	for {
		err := st.serve(watch)
		if !errors.Is(err, dcos.ErrReset) {
			return nil // the client or the server went away
		}
		watch.Stop()
		next, err := st.restart(r.Context())
		if err != nil {
			return nil // the client's next try begins anew
		}
		watch = next
	}
}

// stream is what one client sees.
type stream struct {
	s      *server
	out    *api.Events
	topics map[string]bool
	app    dcos.AppID // tasks of this app only; "" is all
	view   state.View // what rows are made of
	index  dcos.Index // the client knows, or is about to be told, all that changed up to here
	dirty  map[rowKey]bool
	leader dcos.MasterID
	term   dcos.Term

	flushed  time.Time // the last time
	counted  time.Time // when the cluster's row was sent
	lastPing time.Time
	used     map[dcos.NodeID]client.Usage // as last looked at
	usedAt   time.Time
}

// rowKey names a row on the stream.
type rowKey struct{ topic, key string }

func (s *server) newStream(r *http.Request) (*stream, string, error) {
	q := r.URL.Query()
	st := &stream{s: s, topics: map[string]bool{}, dirty: map[rowKey]bool{}, leader: s.Leader(), term: s.Term()}
	for _, list := range q["topics"] {
		for _, name := range strings.Split(list, ",") {
			i := slices.IndexFunc(topics, func(t struct {
				name string
				need auth.Permission
			},
			) bool {
				return t.name == name
			})
			if i < 0 {
				return nil, "", fmt.Errorf("%w: topic %.40q, expected some of cluster, nodes, services, tasks, packages, deployments", dcos.ErrInvalid, name)
			}
			if err := auth.Allow(api.PrincipalOf(r.Context()), topics[i].need); err != nil {
				return nil, "", err
			}
			st.topics[name] = true
		}
	}
	if len(st.topics) == 0 {
		return nil, "", fmt.Errorf("%w: name topics, as in ?topics=nodes,services", dcos.ErrInvalid)
	}
	if app := q.Get("app"); app != "" {
		id, err := dcos.ParseAppID(app)
		if err != nil {
			return nil, "", err
		}
		st.app = id
	}
	since := r.Header.Get("Last-Event-ID")
	if since == "" {
		since = q.Get("since")
	}
	return st, since, nil
}

// begin starts the watch: where the client left off if that is still kept, or
// else now.
func (st *stream) begin(ctx context.Context, since string) (w *api.Watch, resumed bool, err error) {
	feed := st.s.State.Feed
	st.view = feed.View()
	if from, err := strconv.ParseUint(since, 10, 64); err == nil {
		w, err := api.StartWatch(ctx, feed, dcos.Index(from))
		st.index = dcos.Index(from)
		if err == nil || !errors.Is(err, dcos.ErrReset) {
			return w, true, err
		}
	}
	st.view = st.present(ctx)
	st.index = st.view.Index()
	w, err = api.StartWatch(ctx, feed, st.index)
	return w, false, err
}

// present is a view with everything that the client may know from elsewhere;
// while that cannot be had, what this master knows.
func (st *stream) present(ctx context.Context) state.View {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if v, err := st.s.State.Feed.Read(ctx); err == nil {
		return v
	}
	return st.s.State.Feed.View()
}

// restart shows everything anew to a client that fell behind.
func (st *stream) restart(ctx context.Context) (*api.Watch, error) {
	clear(st.dirty)
	st.view = st.s.State.Feed.View()
	st.index = st.view.Index()
	watch, err := api.StartWatch(ctx, st.s.State.Feed, st.index)
	if err != nil {
		return nil, err
	}
	if err = st.send("reset", "", nil, ""); err == nil {
		err = st.snapshot()
	}
	if err != nil {
		watch.Stop()
	}
	return watch, err
}

// serve sends changes until the watch ends or the client is gone.
func (st *stream) serve(watch *api.Watch) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	flush := time.NewTimer(flushSoon)
	defer flush.Stop()
	st.lastPing = time.Now()
	for {
		select {
		case commit, ok := <-watch.C:
			if !ok {
				return watch.Err()
			}
			quiet := len(st.dirty) == 0
			st.note(&commit)
			if len(st.dirty) > maxDirty {
				return dcos.ErrReset
			}
			if quiet && len(st.dirty) > 0 {
				flush.Reset(max(flushSoon, flushEvery-time.Since(st.flushed)))
			}
		case <-flush.C:
			if err := st.flush(); err != nil {
				return err
			}
			if len(st.dirty) > 0 {
				flush.Reset(flushEvery)
			}
		case <-look.C:
			if err := st.look(flush); err != nil {
				return err
			}
		}
	}
}

// look notices what changes without a commit, and keeps the connection alive.
func (st *stream) look(flush *time.Timer) error {
	if leader, term := st.s.Leader(), st.s.Term(); leader != st.leader || term != st.term {
		st.leader, st.term = leader, term
		st.touch("cluster", "")
		flush.Reset(flushSoon)
	}
	st.lookAtUsage(flush)
	if time.Since(st.lastPing) < pingEvery {
		return nil
	}
	st.lastPing = time.Now()
	id := ""
	if len(st.dirty) == 0 {
		id = st.id()
	}
	return st.out.Send(id, "", client.Event{Seq: uint64(st.index), Time: st.s.State.Time().String(), Op: "ping"})
}

// lookAtUsage sends the rows of nodes that use more or less than before. Only
// the leader knows what they use.
func (st *stream) lookAtUsage(flush *time.Timer) {
	if !st.topics["nodes"] || time.Since(st.usedAt) < usageEvery {
		return
	}
	st.usedAt = time.Now()
	now := map[dcos.NodeID]client.Usage{}
	for n := range st.view.Nodes() {
		u, ok := st.s.Usage(n.ID)
		if !ok {
			continue
		}
		now[n.ID] = u
		if st.used[n.ID] != u {
			st.touch("nodes", string(n.ID))
		}
	}
	st.used = now
	if len(st.dirty) > 0 {
		flush.Reset(flushSoon)
	}
}
