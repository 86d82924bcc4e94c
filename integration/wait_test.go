package integration

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"
)

// dialer is for everything that the tests connect to.
var dialer = &net.Dialer{Timeout: 3 * time.Second}

// pollEvery is the time between two looks.
const pollEvery = 100 * time.Millisecond

// pause waits, or ends early with the context.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// until calls look until it is content, and gives its last complaint when the
// limit is over.
func until(ctx context.Context, limit time.Duration, look func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := look()
		if err == nil {
			return nil
		}
		if pause(ctx, pollEvery) != nil {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
	}
}

// eventually fails the test when look is not content within the limit.
func eventually(t *testing.T, limit time.Duration, what string, look func() error) {
	t.Helper()
	began := time.Now()
	if err := until(t.Context(), limit, look); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	t.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond))
}

// throughout fails the test when look complains before the time is over.
func throughout(t *testing.T, span time.Duration, what string, look func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), span)
	defer cancel()
	for {
		if err := look(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if pause(ctx, 500*time.Millisecond) != nil {
			return
		}
	}
}
