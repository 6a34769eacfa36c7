package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/cmd/internal/dashboard"
	"github.com/seed-951114d4/sallyport/cmd/internal/handshakes"
	"github.com/seed-951114d4/sallyport/cmd/internal/release"
)

// administer serves the admin listener: to this machine as it is, to any other over TLS
// and by leave of the policy.
func (s *service) administer(ctx context.Context, listener net.Listener, book *handshakes.Book) error {
	server, err := s.newAdmin(book)
	if err != nil {
		return err
	}
	if listener == nil || s.settings.Admin.Loopback() {
		return server.Run(ctx, listener)
	}
	secure := authn.ListenHTTPS(listener, s.own, book.Hear("admin", authn.ListenConfig{
		// Probes of health have no certificate.
		Auth:  authn.OptionalClient,
		Cores: s.cores,
	}))
	engine := s.engine()
	return server.RunGuarded(ctx, secure, func(r *http.Request) (int, string) { return s.proxy.MayAdminister(r, engine) })
}

// newAdmin makes the server of the admin listener.
func (s *service) newAdmin(book *handshakes.Book) (*admin.Server, error) {
	server := admin.New(s.ready, s.registry, s.log)
	sources := map[string]func() authn.Health{"tunnel": s.own.Health}
	renewals := map[string]string{"tunnel": s.settings.Own.Renewal()}
	if s.scrape != nil {
		sources["scrape"], renewals["scrape"] = s.scrape.Health, s.settings.Scrape.Renewal()
	}
	return server, dashboard.Mount(server, dashboard.Parts{
		Proxy: s.proxy, Policy: s.policy.Status, Ready: s.ready, ID: func() string { return s.self().ID },
		Sources: sources, Renewals: renewals, ScrapeName: s.refusedName, Strangers: book.Strangers, Version: release.Version(), Log: s.log,
	})
}

// ready tells why the proxy is of no use yet, or no more, each reason on a line.
func (s *service) ready() error {
	var reasons []error
	if _, err := s.own.Material(); err != nil {
		reasons = append(reasons, fmt.Errorf("no certificate for the tunnel: %w", err))
	}
	if _, err := s.scrapeSource().Material(); err != nil && s.scrape != nil {
		reasons = append(reasons, fmt.Errorf("no certificate for the scrape side: %w", err))
	}
	if s.engine().Policy() == nil {
		reasons = append(reasons, errors.New("no policy is in force"))
	}
	return errors.Join(append(reasons, s.proxy.Ready())...)
}
