package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/cmd/internal/config"
	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/cmd/internal/logging"
	"github.com/seed-951114d4/sallyport/cmd/internal/release"
	"github.com/seed-951114d4/sallyport/cmd/internal/tracing"
)

// settings are all variables of the agent.
type settings struct {
	Agent  agent.Config
	Own    authn.AgentConfig
	Admin  admin.Addr `env:"ADMIN_ADDR" envDefault:"127.0.0.1:8093" help:"health, own metrics and status page, on a loopback address; on another health alone, over TLS; off turns it off"`
	Log    logging.Config
	Traces tracing.Config
}

// checkProxyNow is checkProxyID where there is material without waiting for it.
func (s *settings) checkProxyNow(own authn.Source) error {
	material, err := own.Material()
	if err != nil {
		return nil // later
	}
	return s.checkProxyID(material)
}

// checkProxyID refuses a proxy whose proof could never be accepted.
func (s *settings) checkProxyID(material *authn.Material) error {
	id := s.Own.ProxyID
	if id.IsZero() {
		return nil
	}
	var accepted []string
	for _, anchors := range material.Describe(authn.Client).Anchors {
		if anchors.TrustDomain != "" {
			accepted = append(accepted, anchors.TrustDomain)
		}
	}
	domain := id.TrustDomain().Name()
	if slices.Contains(accepted, domain) {
		return nil
	}
	return fmt.Errorf("SALLYPORT_PROXY_ID: trust domain %s is not accepted, only %s: see SALLYPORT_TRUST_DOMAINS",
		domain, cmp.Or(strings.Join(accepted, ", "), "peers with a DNS name"))
}

// prepare makes a service of the settings. It goes on after a fault, so that
// all come out at once.
func (s *settings) prepare(_ context.Context, log *slog.Logger, faults *config.Faults) daemon.Job {
	service := &service{settings: s, log: log, registry: admin.NewRegistry("sallyport-agent")}
	if err := s.Own.Validate(); err != nil {
		faults.Add(err)
	} else {
		service.own, err = authn.NewSource(s.Own.Config, authn.Client, log)
		faults.Add(err)
		if err == nil {
			faults.Add(s.checkProxyNow(service.own))
			faults.Add(authn.NewMetrics(service.registry, service.own, nil))
		}
	}
	s.Agent.Software = release.Version()
	var err error
	service.tracing, err = tracing.New(s.Traces, daemon.Agent, release.Version(), log)
	faults.Add(err)
	service.agent, err = agent.New(s.Agent, agent.Parts{
		Identity: service.own, ProxyID: s.Own.ProxyID, Log: log, Metrics: service.registry, Self: service.registry,
		Tracer: service.tracing.Tracer(),
	})
	faults.Add(err)
	return service
}
