package auth

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/dcos-go/dcos/pkg/link"
)

// Keeper holds a machine's certificate of one role and renews it in time. It
// may be used by many goroutines at once.
type Keeper struct {
	dir string
	log *slog.Logger
	now atomic.Pointer[link.Credentials]
}

// Pauses of the keeper. It looks at the clock every hour at least, because a
// timer does not see that the machine slept or its clock was set.
const (
	keeperLook  = time.Hour
	keeperRetry = time.Minute
)

// NewKeeper starts from credentials that are stored in dir already.
func NewKeeper(c *link.Credentials, dir string, log *slog.Logger) *Keeper {
	k := &Keeper{dir: dir, log: log}
	k.now.Store(c)
	return k
}

// Credentials are the present ones; the form that link.Config wants.
func (k *Keeper) Credentials() *link.Credentials { return k.now.Load() }

// Run renews until ctx ends; it returns nil only for that reason. renew asks
// for a new certificate of the same identity; it is tried again every minute
// until it works. A new certificate is used once it is stored.
func (k *Keeper) Run(ctx context.Context, renew func(ctx context.Context) (*link.Credentials, error)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		timer.Reset(k.turn(ctx, renew))
	}
}

// turn renews when it is time to, and says when to look again.
func (k *Keeper) turn(ctx context.Context, renew func(ctx context.Context) (*link.Credentials, error)) time.Duration {
	old := k.Credentials()
	if left := time.Until(RenewAt(old.Certificate.Leaf)); left > 0 {
		return min(left, keeperLook)
	}
	c, err := renew(ctx)
	if err == nil {
		err = CheckCredentials(c, time.Now())
	}
	if err == nil {
		err = SaveCredentials(k.dir, c)
	}
	if err != nil {
		if ctx.Err() == nil {
			k.log.Warn("certificate not renewed", "machine", old.Self.String(), "ends", old.Certificate.Leaf.NotAfter, "error", err)
		}
		return keeperRetry
	}
	k.now.Store(c)
	k.log.Info("certificate renewed", "machine", c.Self.String(), "ends", c.Certificate.Leaf.NotAfter)
	return keeperRetry
}
