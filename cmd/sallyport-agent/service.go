package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/cmd/internal/agentpage"
	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/cmd/internal/release"
	"github.com/seed-951114d4/sallyport/cmd/internal/tracing"
)

// service is an agent with all that it needs.
type service struct {
	settings *settings
	log      *slog.Logger
	registry *prometheus.Registry
	own      authn.Keeper
	agent    *agent.Agent
	tracing  *tracing.Tracing
}

// Check describes what the service would work with.
func (s *service) Check(ctx context.Context, w io.Writer) error {
	material, err := daemon.DescribeIdentity(ctx, w, authn.Client, s.own, s.own)
	if err != nil {
		return err
	}
	if err := s.settings.checkProxyID(material); err != nil {
		return err
	}
	expected := "the host name that is dialled"
	if id := s.settings.Own.ProxyID; !id.IsZero() {
		expected = id.String()
	}
	fmt.Fprintf(w, "proxies       %s\nthey prove    %s\n", strings.Join(s.settings.Agent.ProxyAddrs, ", "), expected)
	return s.describeTargets(w)
}

// describeTargets lists the targets.
func (s *service) describeTargets(w io.Writer) error {
	targets := s.agent.Targets()
	if len(targets) == 0 {
		_, err := fmt.Fprintf(w, "targets       none: %s lists none yet\n", s.settings.Agent.TargetsFile)
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "targets       %d\n", len(targets))
	for _, target := range targets {
		fmt.Fprintf(&text, "  %s at %s\n", target.Path, target.URL)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// Run opens the admin listener and works until ctx ends.
func (s *service) Run(ctx context.Context) error {
	listener, err := admin.Listen(ctx, s.settings.Admin)
	if err != nil {
		return err
	}
	if listener != nil {
		s.log.Info("listening", "admin", listener.Addr().String())
	}
	s.log.Info("offering targets", "targets", len(s.agent.Targets()), "proxies", strings.Join(s.settings.Agent.ProxyAddrs, ", "))
	return daemon.Supervise(ctx, s.agent.Run,
		daemon.Keep(s.own, s.settings.Own.Renewal(), s.log),
		daemon.Helper{Name: "tracing", Run: s.tracing.Run},
		daemon.Helper{Name: "the admin listener", Run: func(ctx context.Context) error {
			return s.administer(ctx, listener)
		}},
	)
}

// administer serves the admin listener. The agent has no policy that could say who may
// see what: another machine learns of its health and of nothing else.
func (s *service) administer(ctx context.Context, listener net.Listener) error {
	server := admin.New(s.agent.Ready, s.registry, s.log)
	server.Pages(agentpage.New(s.agent, s.own, s.settings.Own.Renewal(), release.Version()))
	admin.ListWhole(server, "proxies", nil, func(admin.Query) []agent.ProxyInfo { return s.agent.Proxies() })
	admin.ListWhole(server, "routes", nil, func(admin.Query) []agent.RouteInfo { return s.agent.Routes() })
	if listener == nil || s.settings.Admin.Loopback() {
		return server.Run(ctx, listener)
	}
	secure := authn.ListenHTTPS(listener, s.own, authn.ListenConfig{Auth: authn.NoClient})
	return server.RunGuarded(ctx, secure, admin.HealthOnly)
}
