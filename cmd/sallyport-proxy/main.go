// Command sallyport-proxy stands where Prometheus can reach it: it takes scrapes
// over HTTPS and passes them down connections that agents have opened. All its
// configuration is in environment variables; see sallyport-proxy --help.
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
		Name: daemon.Proxy,
		Summary: `sallyport-proxy takes Prometheus's scrapes over HTTPS and passes them down the
connections that agents behind a firewall have opened to it. A policy decides
which agent may serve which path, and who may scrape it.`,
		Settings: &s,
		Logging:  &s.Log,
		Prepare:  s.prepare,
	}.Main(ctx, args, environ, stdout, stderr)
}
