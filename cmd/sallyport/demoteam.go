package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/config"
	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/cmd/internal/release"
)

// teamPlan says what a team has.
type teamPlan struct {
	name     string   // also of its certificate
	routes   []string // what it may serve
	intrudes string   // what it offers and may not serve
	down     string   // a route whose target does not run
}

func (p teamPlan) id() string { return "spiffe://" + demoDomain + "/" + p.name }

// nowhere is a URL at which nothing runs: no program listens on port 1 by chance.
const nowhere = "http://127.0.0.1:1/metrics"

var demoTeams = []teamPlan{
	{name: "team-a", routes: []string{"/team-a/shop", "/team-a/search"}, down: "/team-a/reports"},
	{name: "team-b", routes: []string{"/team-b/queue"}, intrudes: "/team-a/billing"},
}

// team is an agent with its targets.
type team struct {
	plan     teamPlan
	agent    *agent.Agent
	source   authn.Keeper
	targets  []*demoTarget
	refusals refusals
	log      *os.File
}

func newTeam(ctx context.Context, f folder, plan teamPlan, proxyAddr string) (*team, error) {
	t := &team{plan: plan, refusals: make(refusals, 1)}
	var err error
	if t.log, err = f.openLog(plan.name); err != nil {
		return nil, err
	}
	log := slog.New(slog.NewMultiHandler(fileLogger(t.log).Handler(), t.refusals))
	if t.source, err = authn.NewSource(f.identity(plan.name), authn.Client, log); err != nil {
		return nil, err
	}
	var cfg agent.Config
	if err := config.Load([]string{"SALLYPORT_PROXY_ADDRS=" + proxyAddr}, &cfg).Err(); err != nil {
		return nil, err
	}
	cfg.Name, cfg.Software = plan.name, release.Version()
	for _, path := range plan.routes {
		target, err := newTarget(ctx, path)
		if err != nil {
			return nil, err
		}
		t.targets = append(t.targets, target)
		cfg.Targets = append(cfg.Targets, agent.Target{Path: path, URL: target.url()})
	}
	if plan.down != "" {
		cfg.Targets = append(cfg.Targets, agent.Target{Path: plan.down, URL: nowhere})
	}
	if plan.intrudes != "" {
		cfg.Targets = append(cfg.Targets, agent.Target{Path: plan.intrudes, URL: t.targets[0].url()})
	}
	expect := spiffeid.RequireFromString("spiffe://" + demoDomain + "/proxy")
	t.agent, err = agent.New(cfg, agent.Parts{Identity: t.source, ProxyID: expect, Log: log, Metrics: prom.NewRegistry()})
	return t, err
}

func (t *team) helpers() []daemon.Helper {
	helpers := []daemon.Helper{
		{Name: "the certificates of " + t.plan.name, Run: t.source.Run},
		{Name: "the agent of " + t.plan.name, Run: func(ctx context.Context) error {
			defer t.log.Close()
			return t.agent.Run(ctx)
		}},
	}
	for _, target := range t.targets {
		helpers = append(helpers, daemon.Helper{Name: "the target of " + target.path, Run: target.run})
	}
	return helpers
}

// wait returns when the proxy has answered for each of the routes.
func (t *team) wait(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := t.agent.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// demoTarget is something that exposes metrics.
type demoTarget struct {
	path     string
	listener net.Listener
	server   *http.Server
}

func newTarget(ctx context.Context, path string) (*demoTarget, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", loopback)
	if err != nil {
		return nil, fmt.Errorf("listening for the agent: %w", err)
	}
	registry := prom.NewRegistry()
	begin := time.Now().Add(-10 * time.Minute) // as if it had been up for a while
	registry.MustRegister(
		collectors.NewGoCollector(),
		prom.NewCounterFunc(prom.CounterOpts{
			Name: "demo_orders_total", Help: "Orders so far; three a second come in.",
			ConstLabels: prom.Labels{"service": path[1:]},
		}, func() float64 { return float64(time.Since(begin).Milliseconds() * 3 / 1000) }),
	)
	handler := promhttp.InstrumentMetricHandler(registry, promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	return &demoTarget{path: path, listener: listener, server: &http.Server{Handler: handler, ReadHeaderTimeout: demoPatience}}, nil
}

func (t *demoTarget) url() string { return "http://" + t.listener.Addr().String() + "/metrics" }

func (t *demoTarget) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { t.server.Close() })
	defer stop()
	if err := t.server.Serve(t.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// refusal is what an agent logs of a route that the proxy refused.
type refusal struct{ route, reasons string }

// refusals picks them out of the agent's log: this is where an operator reads
// them. One is kept until it is waited for; the demo has no more.
type refusals chan refusal

func (r refusals) wait(ctx context.Context) (refusal, error) {
	select {
	case refused := <-r:
		return refused, nil
	case <-ctx.Done():
		return refusal{}, ctx.Err()
	}
}

// Enabled, Handle, WithAttrs and WithGroup implement slog.Handler.
func (r refusals) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (r refusals) Handle(_ context.Context, record slog.Record) error {
	var found refusal
	record.Attrs(func(attr slog.Attr) bool {
		switch attr.Key {
		case "route":
			found.route = attr.Value.String()
		case "reasons":
			found.reasons = attr.Value.String()
		}
		return true
	})
	if found.reasons != "" {
		select {
		case r <- found:
		default:
		}
	}
	return nil
}

func (r refusals) WithAttrs([]slog.Attr) slog.Handler { return r }
func (r refusals) WithGroup(string) slog.Handler      { return r }
