package testenv

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/proxy"
)

// Proxy is a proxy of a world. It keeps its ports over a restart.
type Proxy struct {
	TunnelAddr string
	ScrapeAddr string
	// Registry has its metrics; a restart makes a new one.
	Registry *prometheus.Registry

	w      *World
	cfg    Config
	source authn.Keeper

	proxy  *proxy.Proxy
	engine *authz.Engine
	tunnel *listener
	scrape *listener
	cancel context.CancelFunc
	done   chan error
}

func newProxy(w *World, cfg Config) *Proxy {
	w.TB.Helper()
	p := &Proxy{w: w, cfg: cfg, TunnelAddr: "127.0.0.1:0", ScrapeAddr: "127.0.0.1:0", source: cfg.Source}
	if p.source == nil {
		leaf := w.Leaf(pki.Request{
			Role: pki.Proxy, SPIFFEID: ID("proxy"), DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)},
		})
		own := w.Files(leaf, w.CA)
		own.TrustDomains, own.FederatedCAFiles, own.CRLFiles = cfg.TrustDomains, cfg.Federated, cfg.CRLs
		if cfg.WorkloadAPI {
			w.Trust = newTrust(w, leaf)
			own = w.Trust.config(cfg.TrustDomains)
		}
		p.source = w.Keep(own, authn.Server)
		if cfg.WorkloadAPI {
			Eventually(w.TB, func() error { _, err := p.source.Material(); return err })
		}
	}
	w.TB.Cleanup(p.Stop)
	return p
}

// Keep makes a source of files and keeps it current until the test ends.
func (w *World) Keep(cfg authn.Config, role authn.Role) authn.Keeper {
	w.TB.Helper()
	source, err := authn.NewSource(cfg, role, w.log)
	if err != nil {
		w.TB.Fatal(err)
	}
	w.Background(source.Run)
	return source
}

// Background runs until the test ends, which waits for it.
func (w *World) Background(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	w.TB.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.TB.Errorf("a background task failed: %v", err)
		}
	})
}

// Start starts the proxy, on the ports it had before.
func (p *Proxy) Start() {
	tb := p.w.TB
	tb.Helper()
	p.engine = authz.NewEngine(compile(tb, p.cfg.Policy))
	cfg := ProxyConfig()
	if p.cfg.Proxy != nil {
		p.cfg.Proxy(&cfg)
	}
	p.Registry = prometheus.NewRegistry()
	p.tunnel, p.scrape = listen(tb, p.TunnelAddr), listen(tb, p.ScrapeAddr)
	p.TunnelAddr, p.ScrapeAddr = p.tunnel.Addr().String(), p.scrape.Addr().String()
	cfg.ScrapeAddr = p.ScrapeAddr
	parts := proxy.Parts{
		Policy: p.engine, Trust: p.source, ScrapeTrust: p.source, Audit: p.w.Audit, Self: func() authz.ProxyInput { return Self(p.source) },
		Log: p.w.log.With("daemon", "proxy"), Metrics: p.Registry, Software: "testenv", Tracer: p.cfg.Tracer,
	}
	if cfg.ClientAuth == proxy.ClientAuthOptional {
		parts.Tokens = authn.NewTokens(p.source, cfg.URL())
	}
	var err error
	if p.proxy, err = proxy.New(cfg, parts); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done = cancel, make(chan error, 1)
	tunnel := authn.ListenTunnel(p.tunnel, p.source, authn.ListenConfig{Failed: p.failed})
	scrape := authn.ListenHTTPS(p.scrape, p.source, authn.ListenConfig{Auth: cfg.ClientAuth.TLS(), Failed: p.failed})
	go func() { p.done <- p.proxy.Run(ctx, tunnel, scrape) }()
}

// compile compiles a policy. The race detector on a busy machine takes more than
// the usual 100 ms for a decision.
func compile(tb testing.TB, policy fs.FS) *authz.Policy {
	tb.Helper()
	compiled, err := authz.Compile(context.Background(), policy, authz.Options{Timeout: 5 * time.Second})
	if err != nil {
		tb.Fatal(err)
	}
	return compiled
}

// SetPolicy puts another policy in force, now and after a restart.
func (p *Proxy) SetPolicy(policy fs.FS) {
	p.w.TB.Helper()
	p.cfg.Policy = policy
	p.engine.Replace(compile(p.w.TB, policy))
}

// Routes are those that the proxy knows, by path.
func (p *Proxy) Routes() []proxy.RouteInfo { return p.proxy.Routes() }

// Browse lists the routes that are asked for.
func (p *Proxy) Browse(q proxy.RouteQuery) proxy.RoutePage { return p.proxy.Browse(q) }

// CountRoutes counts the routes that are asked for.
func (p *Proxy) CountRoutes(q proxy.RouteQuery) proxy.RouteCounts { return p.proxy.CountRoutes(q) }

// Refusals are what the proxy refused lately, the latest first.
func (p *Proxy) Refusals() []proxy.RefusalInfo { return p.proxy.Refusals() }

// DiscoveryBegins says whether discovery answers yet, and when it begins to.
func (p *Proxy) DiscoveryBegins() (at time.Time, answers bool) { return p.proxy.DiscoveryBegins() }

// Sessions are those that the proxy has, the oldest first.
func (p *Proxy) Sessions() []proxy.SessionInfo { return p.proxy.Sessions() }

func (p *Proxy) failed(remote net.Addr, err error) {
	p.w.log.Info("handshake failed", "remote", remote.String(), "reason", string(authn.ReasonOf(err)), "error", err)
}

// Self is what a proxy of this source tells its policy of itself.
func Self(source authn.Source) authz.ProxyInput {
	material, err := source.Material()
	if err != nil {
		return authz.ProxyInput{}
	}
	return authz.ProxyInput{ID: material.Identity.String(), TrustDomain: material.TrustDomain}
}

// ProxyConfig is the configuration that an empty environment gives.
func ProxyConfig() proxy.Config {
	return proxy.Config{
		ClientAuth: proxy.ClientAuthRequire, MaxResponse: 64 << 20, MaxScrapeTimeout: 2 * time.Minute,
		MaxSessions: 20000, MaxSessionsPerIdentity: 16, MaxRoutesPerSession: 5000, Warmup: 30 * time.Second, Retention: time.Hour,
	}
}

// Ready is the proxy's own readiness.
func (p *Proxy) Ready() error { return p.proxy.Ready() }

// Drain tells the proxy to stop and does not wait.
func (p *Proxy) Drain() { p.cancel() }

// Stop drains the proxy and waits for it.
func (p *Proxy) Stop() {
	if p.cancel == nil {
		return
	}
	p.cancel()
	if err := <-p.done; err != nil {
		p.w.TB.Errorf("the proxy failed: %v", err)
	}
	p.cancel = nil
}

// Kill stops the proxy as a crash does: every connection breaks at once, and
// nobody is told.
func (p *Proxy) Kill() {
	p.tunnel.kill()
	p.scrape.kill()
	p.cancel()
	<-p.done
	p.cancel = nil
}

// Metric is the value of one of the proxy's metrics, such as
// `sallyport_proxy_scrapes_total{outcome="ok"}` in name and label pairs; of a
// histogram it is the count.
func (p *Proxy) Metric(name string, labels ...string) float64 {
	m := metric(p.w.TB, p.Registry, name, labels...)
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
}

// Sum is the sum of one of the proxy's histograms.
func (p *Proxy) Sum(name string, labels ...string) float64 {
	return metric(p.w.TB, p.Registry, name, labels...).GetHistogram().GetSampleSum()
}

// metric finds one series, nil if there is none.
func metric(tb testing.TB, registry *prometheus.Registry, name string, labels ...string) *dto.Metric {
	families, err := registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	want := fmt.Sprint(labels)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var have []string
			for _, pair := range m.GetLabel() {
				have = append(have, pair.GetName(), pair.GetValue())
			}
			if family.GetName() == name && fmt.Sprint(have) == want {
				return m
			}
		}
	}
	return nil
}
