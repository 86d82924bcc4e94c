package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/dcos-go/dcos/pkg/client"
)

func apiRows() []string { return []string{"read-app", "write-app"} }

const (
	readers = 16
	writers = 128
)

// apiSpeed is a lone master's speed in answering.
func apiSpeed(ctx context.Context, b *bench) (out []figure, err error) {
	g, err := b.cluster(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.end()) }()
	m := g.masters[0]
	if b.wanted("read-app") {
		b.say("read-app")
		if _, err := m.client.CreateApp(ctx, []byte(`{"id":"/bench/one","cmd":"exec serve","instances":0,"env":{"A":"1","B":"2"},"labels":{"x":"y"}}`)); err != nil {
			return out, fmt.Errorf("create the app: %w", err)
		}
		f, err := g.reads(ctx, "read-app", "/service/marathon/v2/apps//bench/one")
		if err != nil {
			return out, err
		}
		out = append(out, f)
	}
	if b.wanted("write-app") {
		f, err := g.writes(ctx, "write-app")
		if err != nil {
			return out, err
		}
		out = append(out, f)
	}
	return out, nil
}

// apiSpeedOfThree is the speed of writes through the leader of three masters.
func apiSpeedOfThree(ctx context.Context, b *bench) (out []figure, err error) {
	g, err := b.cluster(ctx, 3)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.end()) }()
	f, err := g.writes(ctx, "write-3-masters")
	return []figure{f}, err
}

func (g *group) asker(m *masterProc, conns int) asker {
	return asker{addr: m.api, ca: g.ca, token: g.token, conns: conns}
}

// reads asks for one path again and again.
func (g *group) reads(ctx context.Context, row, path string) (figure, error) {
	var rates []float64
	var last asked
	before := g.spent()
	for range g.b.rounds {
		before = g.spent()
		got, err := g.asker(g.masters[0], readers).ask(ctx, g.b.window, func(int64) request { return request{method: "GET", path: path} })
		if err != nil {
			return figure{}, fmt.Errorf("%s: %w", row, err)
		}
		if got.bad > 0 || got.good == 0 {
			return figure{}, fmt.Errorf("%s: %d good and %d bad answers, such as %s", row, got.good, got.bad, got.first)
		}
		rates = append(rates, float64(got.good)/got.took.Seconds())
		last = got
	}
	f := spanned(row, rates, fmt.Sprintf("%d connections with TLS from a process beside it; %s bytes each", readers, number(float64(last.bytes)/float64(last.good))))
	f.cost = g.spent().since(before)
	return f, nil
}

// writes posts new apps to the leader. It counts only if after kill -9 right
// behind the last answer all of them are found again.
func (g *group) writes(ctx context.Context, row string) (figure, error) {
	var rates []float64
	var total int64
	var cost *Cost
	leader, err := g.leader(ctx)
	if err != nil {
		return figure{}, err
	}
	for i := range g.b.rounds {
		g.b.say("%s %d of %d", row, i+1, g.b.rounds)
		before := g.spent()
		got, err := g.asker(leader, writers).ask(ctx, g.b.window/2, func(n int64) request {
			return request{method: "POST", path: "/service/marathon/v2/apps", body: fmt.Sprintf(`{"id":"/bench/w-%d-%d","cmd":"exec serve","instances":0,"portDefinitions":[]}`, i, n)}
		})
		if err != nil {
			return figure{}, fmt.Errorf("%s: %w", row, err)
		}
		if got.bad > 0 {
			return figure{}, fmt.Errorf("%s: %d good and %d bad answers, such as %s", row, got.good, got.bad, got.first)
		}
		total += got.good
		cost = g.spent().since(before)
		rates = append(rates, float64(got.good)/got.took.Seconds())
	}
	for _, m := range g.masters {
		m.kill() // right behind the last answer
	}
	for _, m := range g.masters {
		if err := m.again(g.b); err != nil {
			return figure{}, err
		}
	}
	if err := leader.answers(ctx); err != nil {
		return figure{}, err
	}
	services, err := leader.client.Services(ctx, client.Query{Limit: 1, Filter: "id~/bench/w-"})
	if err == nil && int64(services.Total) != total {
		err = fmt.Errorf("%d apps were acknowledged, %d are there after kill -9: the throughput does not count", total, services.Total)
	}
	if err != nil {
		return figure{}, fmt.Errorf("%s: %w", row, err)
	}
	f := spanned(row, rates, fmt.Sprintf("%d connections with TLS from a process beside it; found again after kill -9 of all masters: %d", writers, services.Total))
	f.cost = cost
	return f, nil
}
