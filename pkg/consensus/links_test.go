package consensus

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// heard is a Handler that notes what it is given.
type heard struct {
	mu    sync.Mutex
	msgs  []string
	lost  []dcos.MasterID
	low   []bool
	files []string
	fail  error // answer to snapshots
}

func (h *heard) Received(_ dcos.MasterID, msg []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.msgs = append(h.msgs, string(msg))
}

func (h *heard) Snapshot(_ dcos.MasterID, _ dcos.Index, msg []byte, file io.Reader) error {
	b, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files = append(h.files, string(msg)+":"+string(b))
	return h.fail
}

func (h *heard) Lost(id dcos.MasterID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost = append(h.lost, id)
}

func (h *heard) Space(_ dcos.MasterID, low bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.low = append(h.low, low)
}

// pair is two members' links over pipes, 1 dialing 2.
type pair struct {
	a, b   Links
	ha, hb heard
	mu     sync.Mutex
	conns  []net.Conn // the dialing ends
	refuse bool
}

// with runs f inside a bubble while both links run.
func with(t *testing.T, f func(p *pair)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pair{}
		p.a.Dial = func(_ context.Context, to dcos.MasterID) (net.Conn, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.refuse || to != 2 {
				return nil, errors.New("connection refused")
			}
			x, y := net.Pipe()
			p.conns = append(p.conns, x)
			go p.b.Serve(y, 1) // until the pipe is closed
			return x, nil
		}
		ctx, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = p.a.Run(ctx, &p.ha) })
		wg.Go(func() { _ = p.b.Run(ctx, &p.hb) })
		synctest.Wait()
		f(p)
		stop()
		wg.Wait()
	})
}

func TestMessagesArriveInOrderAfterTheState(t *testing.T) {
	with(t, func(p *pair) {
		p.a.SetLow(true)
		for _, m := range []string{"one", "two", strings.Repeat("x", 1<<20)} {
			p.a.Send(2, []byte(m))
		}
		synctest.Wait()
		if len(p.hb.msgs) != 3 || p.hb.msgs[0] != "one" || p.hb.msgs[1] != "two" || len(p.hb.msgs[2]) != 1<<20 {
			t.Fatalf("%d messages arrived", len(p.hb.msgs))
		}
		if len(p.hb.low) == 0 || !p.hb.low[0] {
			t.Fatalf("low: %v", p.hb.low)
		}
		p.a.SetLow(false)
		synctest.Wait()
		if n := len(p.hb.low); n < 2 || p.hb.low[n-1] {
			t.Fatalf("low: %v", p.hb.low)
		}
	})
}

func TestBrokenConnectionIsReportedOnBothEndsAndMadeAnew(t *testing.T) {
	with(t, func(p *pair) {
		p.a.Send(2, []byte("one"))
		synctest.Wait()
		must(t, p.conns[0].Close())
		synctest.Wait()
		if len(p.ha.lost) != 1 || p.ha.lost[0] != 2 || len(p.hb.lost) != 1 || p.hb.lost[0] != 1 {
			t.Fatalf("lost: %v and %v", p.ha.lost, p.hb.lost)
		}
		p.a.Send(2, []byte("two"))
		synctest.Wait()
		if len(p.hb.msgs) != 2 {
			t.Fatalf("messages: %v", p.hb.msgs)
		}
	})
}

func TestUnreachableMemberHoldsNoMoreThanTheLimit(t *testing.T) {
	with(t, func(p *pair) {
		p.refuse = true
		for range 3 * peerQueueLen {
			p.a.Send(2, []byte("lost"))
		}
		q := p.a.peer(2)
		q.mu.Lock()
		n := len(q.queue)
		q.mu.Unlock()
		if n > peerQueueLen {
			t.Fatalf("%d messages wait", n)
		}
		big := make([]byte, maxFrame)
		for range 20 {
			p.a.Send(2, big)
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.bytes > peerQueueBytes {
			t.Fatalf("%d bytes wait", q.bytes)
		}
	})
}

func TestSnapshotIsStreamedAndItsFateReported(t *testing.T) {
	with(t, func(p *pair) {
		file := strings.Repeat("state ", 200_000)
		must(t, p.a.SendSnapshot(context.Background(), 2, 7, []byte("msg"), strings.NewReader(file)))
		if len(p.hb.files) != 1 || p.hb.files[0] != "msg:"+file {
			t.Fatalf("%d files arrived", len(p.hb.files))
		}
		p.hb.fail = errors.New("no space left")
		if err := p.a.SendSnapshot(context.Background(), 2, 7, []byte("msg"), strings.NewReader(file)); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Fatalf("error: %v", err)
		}
		if err := p.a.SendSnapshot(context.Background(), 2, 7, []byte("msg"), io.MultiReader(strings.NewReader(file), brokenReader{})); err == nil {
			t.Fatal("a file that cannot be read was sent")
		}
		if len(p.hb.lost) != 0 {
			t.Fatalf("the end of a snapshot counts as a lost member: %v", p.hb.lost)
		}
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

func TestNothingIsSentBeforeRun(t *testing.T) {
	l := &Links{Dial: func(context.Context, dcos.MasterID) (net.Conn, error) { panic("dialed") }}
	l.Send(2, []byte("x"))
	l.SetLow(true)
	a, b := net.Pipe()
	defer b.Close()
	l.Serve(a, 2) // returns and closes
	if _, err := b.Read(make([]byte, 1)); err == nil {
		t.Fatal("the connection is open")
	}
}

// FuzzFrames feeds a connection's reader any bytes.
func FuzzFrames(f *testing.F) {
	var good bytes.Buffer
	for _, k := range []byte{frameMsg, frameLow, frameSnap, frameChunk, frameEnd} {
		if err := writeFrame(&good, k, []byte("123456789")); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(good.Bytes())
	f.Add([]byte{frameMsg, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{frameSnap, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, frameChunk, 0, 0, 0, 1, 1, frameEnd, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for r := bytes.NewReader(b); ; {
			_, payload, err := readFrame(r, 1<<16)
			if err != nil {
				return
			}
			if len(payload) > 1<<16 {
				t.Fatalf("payload of %d bytes", len(payload))
			}
		}
	})
}

// FuzzSnapshotFile feeds the reader of snapshot files any bytes.
func FuzzSnapshotFile(f *testing.F) {
	f.Add([]byte(snapMagic))
	f.Add([]byte(snapMagic + "\x00\x00\x00\x00" + strings.Repeat("x", 40)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newSnapReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		if err := r.Check(); err == nil && len(b) < len(snapMagic)+4+32 {
			t.Fatal("a file without a hash passed")
		}
	})
}

// FuzzLogRecords feeds the raft log's replay any record behind an identity.
func FuzzLogRecords(f *testing.F) {
	f.Add(encode(recEntry, entry(2, 1, "a")), encode(recHard, hard(1, 1)))
	f.Add(encode(recSnapshot, marker(5, 2)), encode(recEntry, entry(6, 2, "b")))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		l := &Log{id: Identity{"c", 1}}
		if l.replay(a) != nil || l.replay(b) != nil || l.check() != nil {
			return
		}
		for i, e := range l.tail {
			if e.GetIndex() != l.snapIndex()+uint64(i)+1 {
				t.Fatalf("entry %d at place %d behind %d", e.GetIndex(), i, l.snapIndex())
			}
		}
	})
}
