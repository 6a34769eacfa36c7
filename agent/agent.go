// Package agent is the end of a Sallyport tunnel that stands beside the targets.
//
// An Agent dials every proxy it is given, offers its routes, and answers the
// scrapes that come back on lanes: it looks a path up in its own table and GETs
// the target. A proxy names a path and nothing else; it cannot name a URL, a
// method, or a header outside the wire contract. The agent follows no redirect,
// skips no verification, and sends nothing before the proxy has proved who it is.
//
// cmd/sallyport-agent is a thin command over this package, and other Go programs
// may run an Agent of their own to expose their metrics.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-951114d4/sallyport/authn"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// Agent holds sessions to proxies and scrapes targets for them.
type Agent struct {
	cfg      Config
	identity Identity
	proxyID  spiffeid.ID
	log      *slog.Logger
	metrics  *metrics
	dial     dialFunc

	table   *table
	file    *targetsFile // nil without one
	scraper *scraper
	links   []*link

	started  atomic.Bool
	draining atomic.Bool
}

// Parts are what an agent works with.
type Parts struct {
	// Identity is who the agent is, and what it judges proxies by.
	Identity Identity
	// ProxyID is what each proxy must prove. The zero ID stands for the host name
	// that is dialled, which is verified in files mode and refused in SPIFFE mode.
	ProxyID spiffeid.ID
	// Log and Metrics may be nil.
	Log     *slog.Logger
	Metrics prometheus.Registerer
	// Self is what the target "self" serves: the agent's own metrics, or those of the
	// program that it is part of. nil: there is no such target.
	Self prometheus.Gatherer
	// Tracer makes a span of each scrape that the proxy traces, too; nil: it makes none.
	Tracer trace.Tracer
}

// Identity is who an agent is and whom it trusts, as it is now: an authn.Keeper. An
// agent whose certificate changes has a new session with each proxy before it
// drains the old one. The certificate is the same as long as its pointer is.
type Identity interface {
	authn.Source
	authn.Trust
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// New checks cfg and reads the targets file and the files that it names, and
// reports every fault at once. It starts nothing.
func New(cfg Config, parts Parts) (*Agent, error) {
	log := parts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	faults := []error{cfg.Validate()}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = DefaultDrainTimeout
	}
	a := &Agent{
		cfg: cfg, identity: parts.Identity, proxyID: parts.ProxyID, log: log,
		dial:  (&net.Dialer{Timeout: connectTimeout}).DialContext,
		table: newTable(cfg.MaxConcurrentScrapes, newSelfTransport(parts.Self, log)),
	}
	if cfg.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			faults = append(faults, fmt.Errorf("SALLYPORT_AGENT_NAME: not set, and %w", err))
		}
		a.cfg.Name = sayable(host, maxNameBytes)
	}
	faults = append(faults, a.loadTargets())
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	m, err := newMetrics(parts.Metrics, cfg.ProxyAddrs)
	if err != nil {
		return nil, err
	}
	a.metrics = m
	m.targeting.load(len(a.table.load().endpoints))
	a.scraper = &scraper{table: a.table, maxBytes: cfg.MaxResponseBytes, metrics: m, tracer: parts.Tracer, log: log}
	for _, addr := range cfg.ProxyAddrs {
		a.links = append(a.links, newLink(a, addr))
	}
	return a, nil
}

// loadTargets fills the table for the first time.
func (a *Agent) loadTargets() error {
	targets := a.cfg.Targets
	if a.cfg.TargetsFile != "" {
		a.file = &targetsFile{name: a.cfg.TargetsFile, log: a.log}
		listed, err := a.file.first()
		if err != nil {
			return prefixed("SALLYPORT_TARGETS_FILE: ", err)
		}
		targets = slices.Concat(targets, listed)
	}
	if a.cfg.Targets.Validate() != nil {
		return nil // Config.Validate has told
	}
	// Only a file can be at fault here: it repeats a path, or names other files.
	_, err := a.table.replace(targets)
	return prefixed("SALLYPORT_TARGETS_FILE: ", err)
}

// reload takes over what the targets file lists now.
func (a *Agent) reload(listed Targets) (change, error) {
	c, err := a.table.replace(slices.Concat(a.cfg.Targets, listed))
	if err == nil {
		a.metrics.reloads.Inc()
		a.metrics.targeting.load(len(a.table.load().endpoints))
	}
	return c, err
}

var (
	errRanAlready = errors.New("an agent runs once")
	errNobody     = errors.New("an agent needs an identity")
)

// Run keeps the sessions until ctx ends. Then it drains: it takes no new scrape,
// lets those in flight finish within Config.DrainTimeout, and returns nil. It
// fails only if it ran before, or was given no identity.
func (a *Agent) Run(ctx context.Context) error {
	if a.identity == nil {
		return errNobody
	}
	if !a.started.CompareAndSwap(false, true) {
		return errRanAlready
	}
	defer a.table.close()
	// The sessions outlive ctx, whose end is the sign to drain.
	sessions, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()

	var wg sync.WaitGroup
	if a.file != nil {
		wg.Go(func() { a.file.follow(ctx, a.reload, a.metrics.reloadFailures.Inc) })
	}
	for _, l := range a.links {
		wg.Go(func() { l.keep(sessions, ctx) })
	}
	<-ctx.Done()
	a.draining.Store(true)
	defer time.AfterFunc(a.cfg.DrainTimeout, cut).Stop()
	wg.Wait()
	return nil
}

// Ready is nil while the agent has a valid certificate, and a proxy has welcomed it
// and answered for each of its routes. Otherwise it says what is missing, in a line for
// each proxy.
func (a *Agent) Ready() error {
	if a.identity == nil {
		return errNobody
	}
	if a.draining.Load() {
		return errors.New("draining")
	}
	if _, err := a.identity.Material(); err != nil {
		return fmt.Errorf("no certificate: %s", sayableError(err))
	}
	var missing []string
	for _, l := range a.links {
		reason := l.missing()
		if reason == "" {
			return nil
		}
		missing = append(missing, l.addr+": "+reason)
	}
	return errors.New(strings.Join(missing, "\n"))
}

func (a *Agent) hello() *tunnelv1.Hello {
	return &tunnelv1.Hello{
		Protocol:     protocolVersion,
		AgentName:    a.cfg.Name,
		Software:     a.cfg.Software,
		MaxLanes:     uint32(a.cfg.MaxConcurrentScrapes),
		KeepsHeaders: true,
	}
}
