package node

import (
	"context"
	"path/filepath"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/history"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/state"
)

// openHistory opens the files of earlier states. A master works without them as
// well, so that what is wrong with them is a warning.
func (m *master) openHistory() {
	if m.c.HistoryMB == 0 {
		return
	}
	reserve := uint64(m.c.DiskReserveMB) << 20
	h, err := history.Open(history.Config{
		Dir:   filepath.Join(m.files.dir, "history"),
		Bytes: m.c.HistoryMB << 20, Age: time.Duration(m.c.HistoryDays) * 24 * time.Hour,
		View: func() state.View { return m.raft.View() },
		Room: func(bytes int64) bool {
			// It stops well before the log has to.
			room, err := journal.HasRoom(m.files.log, uint64(bytes), 2*reserve)
			return room && err == nil
		},
		Log: m.log,
	})
	if err != nil {
		m.log.Warn("no history is kept", "err", err)
		return
	}
	m.history = h
}

// applied is who is told of each entry that was applied; nil for nobody.
func (m *master) applied() func(dcos.Index, dcos.Time, []byte) {
	if m.history == nil {
		return nil
	}
	return m.history.Applied
}

func (m *master) runHistory(ctx context.Context) error {
	if m.history == nil {
		<-ctx.Done()
		return nil
	}
	return m.history.Run(ctx)
}
