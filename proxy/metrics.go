package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// metrics are the proxy's own. No label takes a value that a peer chooses.
type metrics struct {
	scrapes         *prometheus.CounterVec
	duration        prometheus.Histogram
	bytes           prometheus.Counter
	registrations   *prometheus.CounterVec
	decisions       *prometheus.CounterVec
	sessionsRefused prometheus.Counter
	revocations     *prometheus.CounterVec
	judging         prometheus.Histogram

	ended            *prometheus.CounterVec
	connectionsEnded *prometheus.CounterVec
	tokensRefused    *prometheus.CounterVec

	discoveries *prometheus.CounterVec
	discovery   prometheus.Histogram
}

func newMetrics(p *Proxy, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		scrapes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_proxy_scrapes_total", Help: "Scrapes by how they ended.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:                            "sallyport_proxy_scrape_duration_seconds",
			Help:                            "How long scrapes took, from request to the last byte.",
			Buckets:                         []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_proxy_scrape_body_bytes_total", Help: "Bytes of scrape bodies sent to scrapers, as they crossed the tunnel.",
		}),
		registrations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_proxy_registrations_total", Help: "Routes that agents offered, by answer.",
		}, []string{"result"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_proxy_decisions_total", Help: "Decisions of the policy by action and result; a fault is a denial that the policy did not mean.",
		}, []string{"action", "result"}),
		sessionsRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_proxy_sessions_refused_total", Help: "Agents that were turned away after their handshake.",
		}),
	}
	m.revocations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_proxy_revocations_total", Help: "What a change of the policy ended: sessions, routes, scrapes in flight; the last also by a change of the trust.",
	}, []string{"kind"})
	m.judging = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "sallyport_proxy_judging_duration_seconds",
		Help:    "How long it took to judge all sessions, routes and scrapes in flight again after a change of the policy.",
		Buckets: []float64{.001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5},
	})
	m.identities()
	m.discovering()
	m.begin()
	for _, collector := range append(m.gauges(p), newPeerExpiry(p), m.ended, m.connectionsEnded, m.tokensRefused, m.discoveries, m.discovery, m.scrapes, m.duration, m.bytes, m.registrations, m.decisions, m.sessionsRefused, m.revocations, m.judging) {
		if err := reg.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// begin makes every series exist, so that each can be alerted on from the start.
func (m *metrics) begin() {
	for _, info := range Outcomes() {
		m.scrapes.WithLabelValues(string(info.Outcome))
	}
	for code := range tunnelv1.RouteAnswer_Code_name {
		if code != 0 {
			m.registrations.WithLabelValues(registrationResult(tunnelv1.RouteAnswer_Code(code)))
		}
	}
	for _, kind := range []string{"session", "route", "scrape"} {
		m.revocations.WithLabelValues(kind)
	}
	for _, action := range []string{"session", "register", "scrape", "discovery", "admin"} {
		for _, result := range []string{"allow", "deny", "fault"} {
			m.decisions.WithLabelValues(action, result)
		}
	}
}

// gauges read the state when it is asked for, so that they cost nothing else.
func (m *metrics) gauges(p *Proxy) []prometheus.Collector {
	gauge := func(name, help string, labels prometheus.Labels, read func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(read()) })
	}
	const routes, lanes = "sallyport_proxy_routes", "sallyport_proxy_lanes"
	const routesHelp = "Routes by state: served, or gone with their agent."
	const lanesHelp = "Lanes of all sessions by state: idle, or lent to a scrape."
	return []prometheus.Collector{
		gauge("sallyport_proxy_sessions", "Sessions of agents.", nil, p.sessions.count),
		gauge(routes, routesHelp, prometheus.Labels{"state": "served"}, func() int { served, _ := p.routes.count(); return served }),
		gauge(routes, routesHelp, prometheus.Labels{"state": "gone"}, func() int { _, gone := p.routes.count(); return gone }),
		gauge(lanes, lanesHelp, prometheus.Labels{"state": "idle"}, func() int { idle, _ := p.lanes(); return idle }),
		gauge(lanes, lanesHelp, prometheus.Labels{"state": "lent"}, func() int { _, lent := p.lanes(); return lent }),
	}
}

func (m *metrics) scraped(outcome Outcome, took time.Duration) {
	m.scrapes.WithLabelValues(string(outcome)).Inc()
	m.duration.Observe(took.Seconds())
}

func (m *metrics) decided(action string, d authz.Decision) {
	result := "deny"
	switch {
	case d.Allow:
		result = "allow"
	case faulty(d):
		result = "fault"
	}
	m.decisions.WithLabelValues(action, result).Inc()
}
