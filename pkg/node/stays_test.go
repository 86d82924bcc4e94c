package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/journal"
)

func TestOnlyWhatAnotherStartWouldMeetAgainNeedsTheOperator(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("%w (the others refuse its connections)", consensus.ErrRemoved), true},
		{fmt.Errorf("%w: start 3", consensus.ErrRolledBack), true},
		{&journal.DamagedError{File: "raft/1.log", Reason: "zeros"}, true},
		{stays{errors.New("cut off")}, true},
		{errors.New("write: input/output error"), false},
		{context.DeadlineExceeded, false},
	} {
		got := runParts(t.Context(), slog.New(slog.DiscardHandler), []part{{"raft", func(context.Context) error { return tt.err }}})
		if NeedsOperator(got) != tt.want {
			t.Errorf("%v: needs the operator: %v, want %v", got, !tt.want, tt.want)
		}
	}
	if NeedsOperator(nil) {
		t.Error("no error needs the operator")
	}
}
