package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/cmd/internal/dashboard"
	"github.com/seed-951114d4/sallyport/cmd/internal/policy"
	"github.com/seed-951114d4/sallyport/cmd/internal/release"
	"github.com/seed-951114d4/sallyport/proxy"
)

// administer serves the admin listener: to this machine as it is, to any other over TLS
// and by leave of the policy.
func (s *service) administer(ctx context.Context, listener net.Listener, handshakes *handshakes) error {
	server, err := s.newAdmin(handshakes)
	if err != nil {
		return err
	}
	if listener == nil || s.settings.Admin.Loopback() {
		return server.Run(ctx, listener)
	}
	secure := authn.ListenHTTPS(listener, s.own, authn.ListenConfig{
		// Probes of health have no certificate.
		Auth:   authn.OptionalClient,
		Failed: handshakes.failed("admin"),
	})
	engine := s.engine()
	return server.RunGuarded(ctx, secure, func(r *http.Request) (int, string) { return s.proxy.MayAdminister(r, engine) })
}

// newAdmin makes the server of the admin listener.
func (s *service) newAdmin(handshakes *handshakes) (*admin.Server, error) {
	server := admin.New(s.ready, s.registry, s.log)
	sources := map[string]func() authn.Health{"tunnel": s.own.Health}
	if s.scrape != nil {
		sources["scrape"] = s.scrape.Health
	}
	self := policy.Self(s.own)
	pages, err := dashboard.New(dashboard.Parts{
		Proxy: s.proxy, Policy: s.policy.Status, Ready: s.ready, ID: func() string { return self().ID },
		Sources: sources, Strangers: handshakes.strangers.all, Version: release.Version(), Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	server.Pages(pages)
	admin.List(server, "policy", nil, func(admin.Query) ([]authz.Status, string, error) {
		return []authz.Status{s.policy.Status()}, "", nil
	})
	admin.List(server, "routes", routeFilters, func(q admin.Query) ([]proxy.RouteInfo, string, error) {
		query, err := routeQuery(q)
		if err != nil {
			return nil, "", err
		}
		page := s.proxy.Browse(query)
		return page.Routes, page.Next, nil
	})
	admin.List(server, "scrapes", routeFilters, func(q admin.Query) ([]proxy.ScrapeInfo, string, error) {
		query, err := routeQuery(q)
		if err != nil {
			return nil, "", err
		}
		scrapes, next := s.proxy.Scrapes(query)
		return scrapes, next, nil
	})
	admin.List(server, "sessions", []string{"state", "owner", "q"}, func(q admin.Query) ([]proxy.SessionInfo, string, error) {
		if err := oneOf(q, "state", "", "live", "draining"); err != nil {
			return nil, "", err
		}
		infos, next := s.proxy.BrowseSessions(proxy.SessionQuery{
			State: q.Get("state"), Owner: q.Get("owner"), Search: q.Get("q"), After: q.After, Limit: q.Limit,
		})
		return infos, next, nil
	})
	admin.List(server, "handshakes", nil, func(admin.Query) ([]dashboard.Stranger, string, error) { return handshakes.strangers.all(), "", nil })
	admin.List(server, "refusals", []string{"owner", "route"}, s.refusals)
	return server, nil
}

// routeFilters are the parameters of a list of routes, and of one of their scrapes.
var routeFilters = []string{"state", "owner", "outcome", "route", "q"}

func routeQuery(q admin.Query) (proxy.RouteQuery, error) {
	outcomes := []string{""}
	for _, info := range proxy.Outcomes() {
		outcomes = append(outcomes, string(info.Outcome))
	}
	err := errors.Join(oneOf(q, "state", "", "served", "well", "failing", "gone"), oneOf(q, "outcome", outcomes...))
	return proxy.RouteQuery{
		Path: q.Get("route"), State: q.Get("state"), Owner: q.Get("owner"), Outcome: proxy.Outcome(q.Get("outcome")),
		Search: q.Get("q"), After: q.After, Limit: q.Limit,
	}, err
}

// refusals are few enough to come at once.
func (s *service) refusals(q admin.Query) ([]proxy.RefusalInfo, string, error) {
	other := func(r proxy.RefusalInfo) bool {
		return q.Get("owner") != "" && r.Identity != q.Get("owner") || q.Get("route") != "" && r.Route != q.Get("route")
	}
	infos := slices.DeleteFunc(s.proxy.Refusals(), other)
	return infos[:min(len(infos), q.Limit)], "", nil
}

func oneOf(q admin.Query, name string, values ...string) error {
	if slices.Contains(values, q.Get(name)) {
		return nil
	}
	return fmt.Errorf("%s is none of %v", name, values[1:])
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
