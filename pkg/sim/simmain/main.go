// Command simmain is the simulator alone, without the rest of the dcos binary,
// so that it builds in seconds: `dcos sim --mutants` builds it once for every
// planted bug. It owns nothing but its main function.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/dcos-go/dcos/pkg/sim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := sim.Command(ctx, os.Args[:1], os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}
