package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// Policy decides. A zero Decision denies. Its methods must be safe for concurrent
// use; *authz.Engine is one.
type Policy interface {
	Session(context.Context, authz.SessionInput) authz.Decision
	Register(context.Context, authz.RegisterInput) authz.Decision
	Scrape(context.Context, authz.ScrapeInput) authz.Decision
	// Revision is that of the policy in force; a Decision has the one it was made by.
	Revision() string
	// Changed is closed when another policy comes into force.
	Changed() <-chan struct{}
}

// Recorder takes what is to be audited. It must not block.
type Recorder interface{ Record(authz.Event) }

// Tokens judges bearer tokens; *authn.Tokens is one. Its errors hold nothing of
// the token.
type Tokens interface {
	Validate(token string) (authn.Bearer, error)
}

// Parts are what a proxy is made of besides its configuration. All are needed but
// Tokens and Tracer.
type Parts struct {
	Policy Policy
	Audit  Recorder
	// Trust is what agents were proved by, ScrapeTrust what scrapers were: those
	// of the listeners' sources.
	Trust, ScrapeTrust authn.Trust
	// Tokens stand in for a scraper's certificate under ClientAuthOptional; nil:
	// nothing does.
	Tokens Tokens
	// Self is the proxy as the policy sees it, now.
	Self func() authz.ProxyInput
	Log  *slog.Logger
	// Metrics takes the proxy's own metrics.
	Metrics prometheus.Registerer
	// Software is this release, for display to agents.
	Software string
	// Tracer makes a span of each scrape that it samples; nil: nothing is traced.
	Tracer trace.Tracer
}

// Proxy admits sessions, owns routes and serves scrapes.
type Proxy struct {
	cfg      Config
	policy   Policy
	audit    Recorder
	self     func() authz.ProxyInput
	log      *slog.Logger
	software string

	// cores is how many there are to judge on; a daemon may use fewer at the moment.
	cores int

	trust, scrapeTrust authn.Trust
	tokens             Tokens
	// Of a refused token, and of a scraper without any credential.
	tokenNotice, strangerNotice seldom

	unserved unserved
	paces    *paces

	sessions *sessions
	routes   *table
	flights  *flights
	settled  *settled
	metrics  *metrics
	tracer   trace.Tracer // nil: off

	discovery *discovery

	// What people are told, and nothing depends on.
	rejections *rejections
	browsing   browsing
	serving    atomic.Bool
}

// New makes a proxy that does nothing yet. The error names every fault of cfg.
func New(cfg Config, parts Parts) (*Proxy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Proxy{
		cfg: cfg, policy: parts.Policy, audit: parts.Audit, self: parts.Self, log: parts.Log, software: parts.Software, tracer: parts.Tracer,
		cores: runtime.GOMAXPROCS(0), trust: parts.Trust, scrapeTrust: parts.ScrapeTrust, tokens: parts.Tokens,
		paces:    newPaces(cfg),
		sessions: newSessions(cfg.MaxSessions, cfg.MaxSessionsPerIdentity),
		routes:   newTable(cfg.MaxRoutesPerSession),
		flights:  newFlights(),
		settled:  newSettled(parts.Policy.Changed()),

		discovery:  newDiscovery(cfg),
		rejections: newRejections(),
	}
	p.routes.claims = maxClaimed(cfg)
	var err error
	if p.metrics, err = newMetrics(p, parts.Metrics); err != nil {
		return nil, err
	}
	p.policy = p.metrics.timed(parts.Policy)
	return p, nil
}

// Run serves agents and scrapers until ctx ends. Then it drains: scrapes in
// flight end, new ones are told 503, agents are told goodbye. It closes both
// listeners. nil: a clean stop. The listeners' type keeps anything from being
// served that has not shaken hands: see authn.ListenTunnel, authn.ListenHTTPS.
func (p *Proxy) Run(ctx context.Context, agentListener, scrapeListener *authn.Listener) error {
	p.serving.Store(true)
	defer p.serving.Store(false)
	// Asked for before anybody is let in, so that no change is missed.
	trust, scrapeTrust := p.trust.Changed(), p.scrapeTrust.Changed()
	agents := newTunnelServer(&tunnel{Proxy: p, admissions: newDesk(p.cores), offers: newDesk(p.cores)})
	health := newTunnelHealth(context.WithoutCancel(ctx), p.sessions)
	grpc_health_v1.RegisterHealthServer(agents, health)
	scrapers := p.newScrapeServer()
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := agents.Serve(agentListener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serving agents: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		err := scrapers.Serve(scrapeListener)
		if !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving scrapers: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		p.sweep(running)
		return nil
	})
	group.Go(func() error {
		p.discovery.warmUp(running, p.trust, p.cfg.Warmup)
		return nil
	})
	group.Go(func() error {
		p.followPolicy(running)
		return nil
	})
	group.Go(func() error {
		follow(running, trust, p.trust.Changed, p.judgePeers)
		return nil
	})
	group.Go(func() error {
		follow(running, scrapeTrust, p.scrapeTrust.Changed, p.judgeScrapers)
		return nil
	})
	group.Go(func() error {
		<-running.Done()
		health.drain()
		p.drain(context.WithoutCancel(ctx), scrapers)
		health.part()
		// Agents hang up when they have read their goodbye, or are cut off.
		agents.GracefulStop()
		return nil
	})
	return group.Wait()
}

// Ready reports why the proxy takes no scrapes, nil if it does.
func (p *Proxy) Ready() error {
	switch {
	case p.flights.closed():
		return errors.New("the proxy is stopping")
	case !p.serving.Load():
		return errors.New("the proxy does not serve agents and scrapers yet")
	}
	return nil
}

// sweep closes lanes that idle, forgets routes that are long gone and the order of routes
// that nobody looks at, and ends sessions whose certificate has expired by a clock that
// was set meanwhile, or while the machine slept: timers do not notice.
func (p *Proxy) sweep(ctx context.Context) {
	const every, idle = 15 * time.Second, 30 * time.Second
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			p.routes.prune(now.Add(-p.cfg.Retention))
			for _, h := range p.paces.sweep(now) {
				p.log.Warn("an agent offers more than is taken or logged at once", "agent", h.identity.String(),
					"offers_slowed_down", h.slowed, "lines_left_out", h.unsaid)
			}
			p.browsing.rest(now)
			for _, s := range p.sessions.all() {
				s.lanes.trim(now.Add(-idle))
				if !time.Now().Before(s.peer().NotAfter) {
					p.hold(s)
				}
			}
		}
	}
}

// drain lets scrapes in flight end while the listener still tells new ones to go
// elsewhere, then says goodbye to the agents.
func (p *Proxy) drain(ctx context.Context, scrapers *http.Server) {
	p.log.Info("draining")
	patience, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	select {
	case <-p.flights.close():
	case <-patience.Done():
		p.log.Warn("scrapes in flight are cut off: they took too long")
	}
	for _, s := range p.sessions.close() {
		p.end(s, refuse(tunnelv1.Goodbye_SHUTDOWN, "the proxy is stopping"))
	}
	if err := scrapers.Shutdown(patience); err != nil {
		// Those that are still being written to would each take their leave of a peer
		// that does not read.
		for _, fl := range p.flights.everyOne() {
			if conn, ok := authn.ConnFromContext(fl.ctx); ok {
				_ = conn.Close()
			}
		}
		_ = scrapers.Close()
	}
}
