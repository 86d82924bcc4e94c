package bench

import (
	"context"
	"io"
)

// MeasureTiny is Main with sizes that take no time.
func MeasureTiny(ctx context.Context, o Options, out io.Writer) error {
	return o.measure(ctx, tiny(), out)
}
