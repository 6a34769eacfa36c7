package main

import (
	"context"
	"log/slog"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/cmd/internal/config"
	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/cmd/internal/logging"
	"github.com/seed-951114d4/sallyport/cmd/internal/release"
)

// settings are all variables of the agent.
type settings struct {
	Agent agent.Config
	Own   authn.AgentConfig
	Admin admin.Addr `env:"ADMIN_ADDR" envDefault:"127.0.0.1:8093" help:"health and own metrics, on a loopback address; off turns it off"`
	Log   logging.Config
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
			faults.Add(authn.NewMetrics(service.registry, service.own, nil))
		}
	}
	s.Agent.Software = release.Version()
	var err error
	service.agent, err = agent.New(s.Agent, agent.Parts{
		Identity: service.own, ProxyID: s.Own.ProxyID, Log: log, Metrics: service.registry,
	})
	faults.Add(err)
	return service
}
