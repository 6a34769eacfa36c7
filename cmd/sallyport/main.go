// Command sallyport is the operator's tool, run by hand: it shows the whole
// system on one machine, makes certificates to try it with, and checks, tests and
// questions policies before they ship. The daemons are sallyport-proxy and
// sallyport-agent.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
