package testenv

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

// Agent is an agent of a world, behind a link of its own to the proxy.
type Agent struct {
	Link     *Link
	Registry *prometheus.Registry

	w      *World
	agent  *agent.Agent
	cancel context.CancelFunc
	done   chan error
}

// AgentConfig says how an agent differs from the usual one.
type AgentConfig struct {
	// Source, if set, is where it has its identity from.
	Source authn.Keeper
	// ProxyID is whom it expects; empty: the world's proxy.
	ProxyID string
	// Tracer makes spans of the agent's scrapes; nil: there are none.
	Tracer trace.Tracer
	// Change may change the configuration.
	Change func(*agent.Config)
}

// Route is one target of an agent.
func Route(path, url string) agent.Target { return agent.Target{Path: path, URL: url} }

// Agent starts an agent with the identity of that path and waits until the proxy
// has answered for all its routes.
func (w *World) Agent(path string, targets ...agent.Target) *Agent {
	w.TB.Helper()
	a := w.StartAgent(path, AgentConfig{}, targets...)
	a.WaitReady()
	return a
}

// StartAgent starts an agent and does not wait.
func (w *World) StartAgent(path string, cfg AgentConfig, targets ...agent.Target) *Agent {
	w.TB.Helper()
	if cfg.Source == nil {
		cfg.Source = w.Keep(w.Files(w.Leaf(pki.Request{Role: pki.Agent, SPIFFEID: ID(path)}), w.CA), authn.Client)
	}
	if cfg.ProxyID == "" {
		cfg.ProxyID = ID("proxy")
	}
	a := &Agent{w: w, Link: NewLink(w.TB, w.Proxy.TunnelAddr), Registry: prometheus.NewRegistry(), done: make(chan error, 1)}
	config := agent.Config{
		ProxyAddrs: []string{a.Link.Addr}, Name: path, Targets: targets,
		MaxConcurrentScrapes: 64, MaxResponseBytes: 64 << 20, Software: "testenv",
	}
	if cfg.Change != nil {
		cfg.Change(&config)
	}
	var err error
	a.agent, err = agent.New(config, agent.Parts{
		Identity: cfg.Source, ProxyID: spiffeid.RequireFromString(cfg.ProxyID),
		Log: w.log.With("daemon", path), Metrics: a.Registry, Self: a.Registry, Tracer: cfg.Tracer,
	})
	if err != nil {
		w.TB.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() { a.done <- a.agent.Run(ctx) }()
	w.TB.Cleanup(a.Stop)
	return a
}

// Ready is the agent's own readiness.
func (a *Agent) Ready() error { return a.agent.Ready() }

// Proxies is how the agent stands with its proxies.
func (a *Agent) Proxies() []agent.ProxyInfo { return a.agent.Proxies() }

// Routes is what became of the agent's targets.
func (a *Agent) Routes() []agent.RouteInfo { return a.agent.Routes() }

// WaitReady waits until the agent is ready.
func (a *Agent) WaitReady() {
	a.w.TB.Helper()
	Eventually(a.w.TB, a.agent.Ready)
}

// Drain tells the agent to stop and does not wait.
func (a *Agent) Drain() { a.cancel() }

// Stop drains the agent and waits for it.
func (a *Agent) Stop() {
	if a.cancel == nil {
		return
	}
	a.cancel()
	if err := <-a.done; err != nil {
		a.w.TB.Errorf("the agent failed: %v", err)
	}
	a.cancel = nil
}

// Kill breaks the agent's connections as the end of its process does, and keeps
// it away.
func (a *Agent) Kill() {
	a.Link.Close()
	a.Stop()
}

// Metric is the value of one of the agent's metrics; see Proxy.Metric.
func (a *Agent) Metric(name string, labels ...string) float64 {
	m := metric(a.w.TB, a.Registry, name, labels...)
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
}

// WaitMetric waits until a metric has the value.
func WaitMetric(w *World, of interface {
	Metric(name string, labels ...string) float64
}, want float64, name string, labels ...string) {
	w.TB.Helper()
	Eventually(w.TB, func() error {
		if have := of.Metric(name, labels...); have != want {
			return fmt.Errorf("%s%v is %v, want %v", name, labels, have, want)
		}
		return nil
	})
}
