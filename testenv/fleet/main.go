// Command fleet measures what a fleet of agents costs a proxy, and how a fleet
// comes back after the proxy was gone: thousands of real agents, each with an
// identity of its own, in one process, and a sallyport-proxy as it is released in
// another, so that memory and goroutines are the proxy's alone. Both share the
// machine's cores. It prints a table in Markdown.
//
//	go run ./testenv/fleet -sessions 10000 -routes 20
//
// Only people run it; it is no test.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	sessions, routes int
	settle           time.Duration
	scrapes          int
	proxy            string
	dir              string
}

func main() {
	var o options
	var crowd bool
	flag.IntVar(&o.sessions, "sessions", 10_000, "agents, each with a session")
	flag.IntVar(&o.routes, "routes", 20, "routes of each agent")
	flag.DurationVar(&o.settle, "settle", 150*time.Second, "how long the fleet idles before memory is read; the Go runtime collects at least every two minutes")
	flag.IntVar(&o.scrapes, "scrapes", 50, "scrapes per second of routes that are back, while the others come back")
	flag.StringVar(&o.proxy, "proxy", "", "a sallyport-proxy to measure; empty: build it")
	flag.StringVar(&o.dir, "dir", "", "a folder for certificates and logs, which is kept; empty: a temporary one")
	flag.BoolVar(&crowd, "crowd", false, "be the process of the agents; the command starts it itself")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := measure
	if crowd {
		run = runCrowd
	}
	if err := run(ctx, o); err != nil {
		slog.Error("measuring the fleet failed", "error", err)
		os.Exit(1)
	}
}

// checkDescriptors says so when the two processes would run out of them.
func checkDescriptors(sessions int) error {
	const others = 500 // scrapes, targets, listeners, files
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("reading the limit of descriptors: %w", err)
	}
	// The Go runtime raises the soft limit to the hard one.
	if need := uint64(sessions + others); limit.Max < need {
		return fmt.Errorf("%d sessions need %d descriptors in each of two processes, and ulimit -Hn is %d", sessions, need, limit.Max)
	}
	return nil
}
