package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/cmd/internal/auditlog"
	"github.com/seed-951114d4/sallyport/cmd/internal/config"
	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/cmd/internal/dashboard"
	"github.com/seed-951114d4/sallyport/cmd/internal/handshakes"
	"github.com/seed-951114d4/sallyport/cmd/internal/logging"
	"github.com/seed-951114d4/sallyport/cmd/internal/policy"
	"github.com/seed-951114d4/sallyport/cmd/internal/release"
	"github.com/seed-951114d4/sallyport/proxy"
)

const (
	demoPolicy = "builtin:default"
	auditName  = "audit.jsonl"
	loopback   = "127.0.0.1:0"
)

// demoProxy is a real proxy on free ports.
type demoProxy struct {
	proxy      *proxy.Proxy
	source     authn.Keeper
	agents     *authn.Listener
	scrapes    *authn.Listener
	agentsAddr string
	scrapeAddr string
	log        *os.File
	policy     *authz.Keeper
	audit      *authz.Audit
	auditLog   *auditlog.Log
	admin      net.Listener
	pages      *admin.Server
	handshakes *handshakes.Book
}

func newDemoProxy(ctx context.Context, f folder) (*demoProxy, error) {
	d := &demoProxy{}
	var err error
	if d.log, err = f.openLog("proxy"); err != nil {
		return nil, err
	}
	log := fileLogger(d.log)
	if d.source, err = authn.NewSource(f.identity("proxy"), authn.Server, log); err != nil {
		return nil, err
	}
	registry := prom.NewRegistry()
	d.handshakes = handshakes.New(registry, log)
	if err := d.listen(ctx); err != nil {
		return nil, err
	}
	d.auditLog = auditlog.Sink(f.file(auditName)).Log()
	if d.audit, err = authz.NewAudit(d.auditLog, log, registry); err != nil {
		return nil, err
	}
	if err := f.copyPolicy(); err != nil {
		return nil, fmt.Errorf("copying policy: %w", err)
	}
	place := authz.FolderPlace(os.DirFS(f.file(policyName)), f.file(policyName))
	if d.policy, err = authz.NewKeeper(ctx, place, authz.Options{}, log, registry); err != nil {
		return nil, err
	}
	var cfg proxy.Config
	if err := config.Load(nil, &cfg).Err(); err != nil {
		return nil, err
	}
	// Nobody has targets to keep that are not back yet.
	cfg.Warmup, cfg.ScrapeURL = 0, d.url("")
	d.proxy, err = proxy.New(cfg, proxy.Parts{
		Policy:      d.policy.Engine(),
		Audit:       d.audit,
		Trust:       d.source,
		ScrapeTrust: d.source,
		Self:        policy.Self(d.source),
		Log:         log,
		Metrics:     registry,
		Software:    release.Version(),
	})
	if err != nil {
		return nil, err
	}
	self := policy.Self(d.source)
	d.pages = admin.New(d.proxy.Ready, registry, log)
	return d, dashboard.Mount(d.pages, dashboard.Parts{
		Proxy: d.proxy, Policy: d.policy.Status, Ready: d.proxy.Ready, ID: func() string { return self().ID },
		Sources:   map[string]func() authn.Health{"tunnel": d.source.Health},
		Strangers: d.handshakes.Strangers, Version: release.Version(), Log: log,
	})
}

func (d *demoProxy) listen(ctx context.Context) error {
	var config net.ListenConfig
	agents, err := config.Listen(ctx, "tcp", loopback)
	if err != nil {
		return fmt.Errorf("listening for agents: %w", err)
	}
	scrapes, err := config.Listen(ctx, "tcp", loopback)
	if err != nil {
		return errors.Join(fmt.Errorf("listening for scrapers: %w", err), agents.Close())
	}
	if d.admin, err = admin.Listen(ctx, loopback); err != nil {
		return errors.Join(err, agents.Close(), scrapes.Close())
	}
	d.agents = authn.ListenTunnel(agents, d.source, d.handshakes.Hear("tunnel", authn.ListenConfig{}))
	d.scrapes = authn.ListenHTTPS(scrapes, d.source, d.handshakes.Hear("scrape", authn.ListenConfig{}))
	d.agentsAddr, d.scrapeAddr = agents.Addr().String(), scrapes.Addr().String()
	return nil
}

func (d *demoProxy) helpers() []daemon.Helper {
	return []daemon.Helper{
		{Name: "the proxy's certificates", Run: d.source.Run},
		{Name: "the proxy's policy", Run: d.policy.Run},
		{Name: "the audit log", Run: func(ctx context.Context) error {
			return errors.Join(d.audit.Run(ctx), d.auditLog.Close())
		}},
		{Name: "the dashboard", Run: func(ctx context.Context) error { return d.pages.Run(ctx, d.admin) }},
		{Name: "the proxy", Run: func(ctx context.Context) error {
			defer d.log.Close()
			return d.proxy.Run(ctx, d.agents, d.scrapes)
		}},
	}
}

// sessions are the IDs of those that there are.
func (d *demoProxy) sessions() []string {
	var ids []string
	for _, session := range d.proxy.Sessions() {
		ids = append(ids, session.ID)
	}
	return ids
}

// dashboard is where it can be looked at.
func (d *demoProxy) dashboard() string { return "http://" + d.admin.Addr().String() + "/" }

func (d *demoProxy) url(path string) string { return "https://" + d.scrapeAddr + path }

// openLog makes the log of a daemon. Nobody else is to read it.
func (f folder) openLog(name string) (*os.File, error) {
	file, err := os.OpenFile(f.file(name+".log"), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a log: %w", err)
	}
	return file, nil
}

func fileLogger(file *os.File) *slog.Logger {
	return logging.New(file, logging.Config{Format: logging.Text})
}

func logFiles(teams []*team) []string {
	names := []string{"proxy.log", auditName}
	for _, team := range teams {
		names = append(names, team.plan.name+".log")
	}
	return names
}
