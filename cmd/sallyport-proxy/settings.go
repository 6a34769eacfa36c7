package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/cmd/internal/auditlog"
	"github.com/seed-951114d4/sallyport/cmd/internal/config"
	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/cmd/internal/logging"
	"github.com/seed-951114d4/sallyport/cmd/internal/policy"
	"github.com/seed-951114d4/sallyport/cmd/internal/release"
	"github.com/seed-951114d4/sallyport/cmd/internal/tracing"
	"github.com/seed-951114d4/sallyport/proxy"
)

// settings are all variables of the proxy.
type settings struct {
	Proxy  proxy.Config
	Own    authn.Config
	Scrape authn.ScrapeConfig
	Policy policySettings
	Audit  auditlog.Sink `env:"AUDIT_LOG" envDefault:"stderr" help:"decisions as JSON lines: stderr, stdout, off, or a file, which is opened again when it was moved away"`
	Admin  admin.Addr    `env:"ADMIN_ADDR" envDefault:"127.0.0.1:8092" help:"health, own metrics, dashboard and JSON API: on a loopback address for who is on the machine, on another over TLS for whom the policy lets; off turns it off"`
	Log    logging.Config
	Traces tracing.Config
}

// policySettings say where the policy is.
type policySettings struct {
	Place   string `env:"POLICY" envDefault:"builtin:default" help:"who may register and scrape what: builtin:NAME (default, dev, staging, prod), a folder of Rego and data, or an OPA bundle file; changes are picked up"`
	KeyFile string `env:"POLICY_KEY_FILE" help:"public key in PEM: the policy must be a bundle that is signed with it, and never goes back to an older revision"`
}

// prepare makes a service of the settings. It goes on after a fault, so that
// all come out at once.
func (s *settings) prepare(ctx context.Context, log *slog.Logger, faults *config.Faults) daemon.Job {
	faults.Add(daemon.CheckListenAddr("SALLYPORT_TUNNEL_ADDR", s.Proxy.TunnelAddr))
	faults.Add(daemon.CheckListenAddr("SALLYPORT_SCRAPE_ADDR", s.Proxy.ScrapeAddr))
	faults.Add(daemon.CheckDistinct(daemon.ListenAddr{Variable: "SALLYPORT_TUNNEL_ADDR", Addr: s.Proxy.TunnelAddr},
		daemon.ListenAddr{Variable: "SALLYPORT_SCRAPE_ADDR", Addr: s.Proxy.ScrapeAddr},
		daemon.ListenAddr{Variable: "SALLYPORT_ADMIN_ADDR", Addr: string(s.Admin)}))
	service := &service{settings: s, log: log, cores: runtime.GOMAXPROCS(0), registry: admin.NewRegistry("sallyport-proxy")}
	// Bearer tokens are judged by keys that nobody else needs.
	s.Own.JWTBundles = s.Proxy.ClientAuth == proxy.ClientAuthOptional
	service.own, service.scrape = s.sources(log, faults)
	if service.own != nil {
		faults.Add(service.exportIdentity())
	}
	service.self = policy.Self(service.own)
	service.policy = s.Policy.keeper(ctx, log, service.registry, faults)
	service.auditLog = s.Audit.Log()
	if err := service.auditLog.Check(); err != nil {
		faults.Add(fmt.Errorf("SALLYPORT_AUDIT_LOG: %w", err))
	}
	var err error
	if service.audit, err = newAudit(service.auditLog, log, service.registry); err != nil {
		faults.Add(err)
	}
	service.tracing, err = tracing.New(s.Traces, daemon.Proxy, release.Version(), log)
	faults.Add(err)
	service.proxy, err = proxy.New(s.Proxy, proxy.Parts{
		Policy:      service.engine(),
		Audit:       service.audit,
		Trust:       service.own,
		ScrapeTrust: service.scrapeSource(),
		Tokens:      service.tokens(),
		Self:        service.self,
		Log:         log,
		Metrics:     service.registry,
		Software:    release.Version(),
		Tracer:      service.tracing.Tracer(),
	})
	faults.Add(err)
	return service
}

// keeper loads the policy; nil where it does not load.
func (s policySettings) keeper(ctx context.Context, log *slog.Logger, registry prometheus.Registerer, faults *config.Faults) *authz.Keeper {
	place, err := policy.Find(s.Place, s.KeyFile)
	if err == nil {
		// Said here, because later loads may find the daemon on fewer cores than it has.
		options := authz.Options{MaxConcurrent: 2 * runtime.GOMAXPROCS(0)}
		var keeper *authz.Keeper
		if keeper, err = authz.NewKeeper(ctx, place, options, log, registry); err == nil {
			return keeper
		}
	}
	variable := "SALLYPORT_POLICY"
	var key *policy.KeyError
	if errors.As(err, &key) {
		variable = "SALLYPORT_POLICY_KEY_FILE"
	}
	faults.Add(fmt.Errorf("%s: %w", variable, err))
	return nil
}

// newAudit makes an audit log of a place, which is nil where it is off.
func newAudit(place *auditlog.Log, log *slog.Logger, registry prometheus.Registerer) (*authz.Audit, error) {
	if place == nil {
		return authz.NewAudit(nil, log, registry)
	}
	return authz.NewAudit(place, log, registry)
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
