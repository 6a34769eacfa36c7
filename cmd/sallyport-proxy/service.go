package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/cmd/internal/auditlog"
	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/cmd/internal/handshakes"
	"github.com/seed-951114d4/sallyport/cmd/internal/policy"
	"github.com/seed-951114d4/sallyport/cmd/internal/tracing"
	"github.com/seed-951114d4/sallyport/proxy"
)

// service is a proxy with all that it needs.
type service struct {
	settings *settings
	log      *slog.Logger
	registry *prometheus.Registry
	// cores is how many there are; at the moment fewer may be in use.
	cores    int
	own      authn.Keeper
	self     func() authz.ProxyInput
	scrape   authn.Keeper // nil: the scrape side uses own
	policy   *authz.Keeper
	audit    *authz.Audit
	auditLog *auditlog.Log // nil: off
	proxy    *proxy.Proxy
	tracing  *tracing.Tracing
}

// engine decides; without a policy, which is a fault, it denies.
func (s *service) engine() *authz.Engine {
	if s.policy == nil {
		return authz.NewEngine(nil)
	}
	return s.policy.Engine()
}

// scrapeSource is what the scrape listener proves itself with, and judges by.
func (s *service) scrapeSource() authn.Keeper {
	if s.scrape != nil {
		return s.scrape
	}
	return s.own
}

// tokens judges bearer tokens, where these may stand in for certificates.
func (s *service) tokens() proxy.Tokens {
	if !s.settings.Own.JWTBundles {
		return nil
	}
	return authn.NewTokens(s.scrapeSource(), s.settings.Proxy.URL())
}

// exportIdentity puts what becomes of our certificates into the metrics.
func (s *service) exportIdentity() error {
	if s.scrape == nil {
		return authn.NewMetrics(s.registry, s.own, nil)
	}
	return authn.NewMetrics(s.registry, s.own, s.scrape)
}

// Check describes what the service would work with.
func (s *service) Check(ctx context.Context, w io.Writer) error {
	material, err := daemon.DescribeIdentity(ctx, w, authn.Server, s.own, s.own)
	if err != nil {
		return err
	}
	if s.scrape != nil {
		fmt.Fprintln(w, "\nscrape side:")
		if material, err = daemon.DescribeIdentity(ctx, w, authn.Server, s.scrape, s.own, s.scrape); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	s.describeListeners(w, material.Certificate.Leaf)
	_, err = fmt.Fprintf(w, "policy        %s\n", policy.Describe(s.policy.Status()))
	return err
}

// describeListeners tells where the proxy would listen, and what about the scrape
// side, whose certificate is leaf, is hardly meant.
func (s *service) describeListeners(w io.Writer, leaf *x509.Certificate) {
	cfg := s.settings.Proxy
	fmt.Fprintf(w, "tunnel        %s\nscrape        %s\nclient auth   %s\nadmin         %s\n",
		cfg.TunnelAddr, cfg.ScrapeAddr, cfg.ClientAuth, s.settings.Admin)
	newScrapeName(cfg.URL(), leaf).describe(w)
	if cfg.ClientAuth == proxy.ClientAuthNone {
		fmt.Fprintln(w, "warning       SALLYPORT_SCRAPE_CLIENT_AUTH=none: every scraper is anonymous, and the policy alone decides what anyone may read")
	}
}

// Run opens the listeners and serves until ctx ends.
func (s *service) Run(ctx context.Context) error {
	listeners, err := s.listen(ctx)
	if err != nil {
		return err
	}
	if err := s.auditLog.Open(); err != nil {
		return errors.Join(err, listeners.close())
	}
	status := s.policy.Status()
	s.log.Info("policy in force", "policy", s.settings.Policy.Place, "revision", status.Revision)
	book := handshakes.New(s.registry, s.log)
	tunnel := authn.ListenTunnel(listeners.tunnel, s.own, book.Hear("tunnel", authn.ListenConfig{Cores: s.cores}))
	scrape := authn.ListenHTTPS(listeners.scrape, s.scrapeSource(),
		book.Hear("scrape", authn.ListenConfig{Auth: s.settings.Proxy.ClientAuth.TLS(), Cores: s.cores}))
	helpers := []daemon.Helper{
		daemon.Keep(s.own, s.settings.Own.Renewal(), s.log),
		{Name: "the name of the scrape side", Run: s.watchScrapeName},
		{Name: "the policy", Run: s.policy.Run},
		{Name: "tracing", Run: s.tracing.Run},
		{Name: "the audit log", Run: func(ctx context.Context) error {
			return errors.Join(s.audit.Run(ctx), s.auditLog.Close())
		}},
		{Name: "the admin listener", Run: func(ctx context.Context) error {
			return s.administer(ctx, listeners.admin, book)
		}},
	}
	if s.scrape != nil {
		helpers = append(helpers, daemon.Keep(s.scrape, s.settings.Scrape.Renewal(), s.log.With("side", "scrape")))
	}
	return daemon.Supervise(ctx, func(ctx context.Context) error {
		return s.proxy.Run(ctx, tunnel, scrape)
	}, helpers...)
}

type listeners struct {
	tunnel, scrape net.Listener
	admin          net.Listener // nil: off
}

// close closes those that are open.
func (l listeners) close() error {
	var faults []error
	for _, listener := range []net.Listener{l.tunnel, l.scrape, l.admin} {
		if listener != nil {
			faults = append(faults, listener.Close())
		}
	}
	return errors.Join(faults...)
}

// listen opens all listeners or none.
func (s *service) listen(ctx context.Context) (opened listeners, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	var config net.ListenConfig
	if opened.tunnel, err = config.Listen(ctx, "tcp", s.settings.Proxy.TunnelAddr); err != nil {
		return opened, fmt.Errorf("listening for agents: %w", err)
	}
	if opened.scrape, err = config.Listen(ctx, "tcp", s.settings.Proxy.ScrapeAddr); err != nil {
		return opened, fmt.Errorf("listening for scrapers: %w", err)
	}
	if opened.admin, err = admin.Listen(ctx, s.settings.Admin); err != nil {
		return opened, err
	}
	attrs := []any{"tunnel", opened.tunnel.Addr().String(), "scrape", opened.scrape.Addr().String()}
	if opened.admin != nil {
		attrs = append(attrs, "admin", opened.admin.Addr().String())
	}
	s.log.Info("listening", attrs...)
	return opened, nil
}
