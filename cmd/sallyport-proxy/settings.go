package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/cmd/internal/config"
	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/cmd/internal/logging"
	"github.com/seed-951114d4/sallyport/cmd/internal/policy"
	"github.com/seed-951114d4/sallyport/cmd/internal/release"
	"github.com/seed-951114d4/sallyport/proxy"
)

// settings are all variables of the proxy.
type settings struct {
	Proxy  proxy.Config
	Own    authn.Config
	Scrape authn.ScrapeConfig
	Policy string     `env:"POLICY" envDefault:"builtin:default" help:"who may register and scrape what: builtin:default, or a folder of Rego and data"`
	Admin  admin.Addr `env:"ADMIN_ADDR" envDefault:"127.0.0.1:8092" help:"health and own metrics, on a loopback address; off turns it off"`
	Log    logging.Config
}

// prepare makes a service of the settings. It goes on after a fault, so that
// all come out at once.
func (s *settings) prepare(ctx context.Context, log *slog.Logger, faults *config.Faults) daemon.Job {
	faults.Add(daemon.CheckListenAddr("SALLYPORT_TUNNEL_ADDR", s.Proxy.TunnelAddr))
	faults.Add(daemon.CheckListenAddr("SALLYPORT_SCRAPE_ADDR", s.Proxy.ScrapeAddr))
	service := &service{settings: s, log: log, registry: admin.NewRegistry("sallyport-proxy")}
	service.own, service.scrape = s.sources(log, faults)
	compiled, err := policy.Load(ctx, s.Policy)
	if err != nil {
		faults.Add(fmt.Errorf("SALLYPORT_POLICY: %w", err))
	}
	service.policy = compiled
	service.proxy, err = proxy.New(s.Proxy, proxy.Parts{
		Policy:   authz.NewEngine(compiled),
		Self:     policy.Self(service.own),
		Log:      log,
		Metrics:  service.registry,
		Software: release.Version(),
	})
	faults.Add(err)
	return service
}

// sources returns those of the tunnel and of the scrape side. The latter is
// judged even where the former is at fault.
func (s *settings) sources(log *slog.Logger, faults *config.Faults) (own, scrape authn.Keeper) {
	var tunnel authn.Source = noSource{}
	if keeper, err := authn.NewSource(s.Own, authn.Server, log); err != nil {
		faults.Add(err)
	} else {
		own, tunnel = keeper, keeper
	}
	if s.Scrape.IsZero() {
		return own, nil
	}
	keeper, err := authn.NewScrape(tunnel, s.Scrape, log)
	if err != nil {
		faults.Add(err)
		return own, nil
	}
	return own, keeper
}

// noSource stands in for the tunnel's source where that could not be made.
type noSource struct{}

func (noSource) Material() (*authn.Material, error) { return nil, errors.New("no source") }
func (noSource) Changed() <-chan struct{}           { return nil }
