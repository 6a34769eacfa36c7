// Command sallyport-agent stands beside the targets: it dials proxies, offers
// its targets as routes, and answers the scrapes that come back. All its
// configuration is in environment variables; see sallyport-agent --help.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run does what the arguments say and returns the exit status.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	var s settings
	return daemon.Program{
		Name: daemon.Agent,
		Summary: `sallyport-agent dials out to proxies, registers the targets that it can reach, and
scrapes them when a proxy asks for one. It opens no port to anyone.`,
		Settings: &s,
		Logging:  &s.Log,
		Prepare:  s.prepare,
	}.Main(ctx, args, environ, stdout, stderr)
}
