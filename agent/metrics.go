package agent

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// metrics counts what the agent does. Every label has a fixed set of values:
// nothing that a proxy, a scraper or a target says becomes one.
type metrics struct {
	sessions       prometheus.Gauge
	connects       *prometheus.CounterVec
	rotations      prometheus.Counter
	lanes          prometheus.Gauge
	routes         *prometheus.GaugeVec
	targets        prometheus.Gauge
	reloadFailures prometheus.Counter
	scrapes        *prometheus.CounterVec
	duration       prometheus.Histogram
}

// How an attempt to begin a session ended.
const (
	connectWelcomed    = "welcomed"    // the session began
	connectUnreachable = "unreachable" // no connection
	connectHandshake   = "handshake"   // TLS failed: who is the proxy, who are we
	connectRefused     = "refused"     // the proxy did not welcome us
)

// outcomes are the values of the scrapes' label: the proxy's words where both
// ends see the same.
var outcomes = map[tunnelv1.End_Code]string{
	tunnelv1.End_COMPLETE:    "ok",
	tunnelv1.End_BAD_REQUEST: "bad_request",
	tunnelv1.End_NOT_FOUND:   "not_found",
	tunnelv1.End_UNREACHABLE: "target_unreachable",
	tunnelv1.End_REJECTED:    "target_rejected",
	tunnelv1.End_TOO_LARGE:   "too_large",
	tunnelv1.End_TIMEOUT:     "target_timeout",
	tunnelv1.End_BROKEN:      "truncated",
	tunnelv1.End_CANCELLED:   "cancelled",
}

const outcomeTargetStatus = "target_status"

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_agent_sessions",
			Help: "Sessions that a proxy has welcomed.",
		}),
		connects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_agent_connects_total",
			Help: "Attempts to begin a session, by result: welcomed, unreachable, handshake, refused.",
		}, []string{"result"}),
		rotations: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_agent_rotations_total",
			Help: "Sessions that took over from one with an older certificate, ours or the proxy's.",
		}),
		lanes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_agent_lanes",
			Help: "Open lanes of all sessions.",
		}),
		routes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sallyport_agent_routes",
			Help: "Routes of all sessions, by state: offered, accepted, refused.",
		}, []string{"state"}),
		targets: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_agent_targets",
			Help: "Configured targets.",
		}),
		reloadFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_agent_targets_reload_failures_total",
			Help: "Changes of the targets file that were not taken over because of a fault.",
		}),
		scrapes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_agent_scrapes_total",
			Help: "Scrapes of targets, by outcome.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sallyport_agent_scrape_duration_seconds",
			Help:    "Time from a scrape request to the end of its answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
	}
	// Series that exist from the start can be alerted on from the start.
	for _, result := range []string{connectWelcomed, connectUnreachable, connectHandshake, connectRefused} {
		m.connects.WithLabelValues(result)
	}
	m.scrapes.WithLabelValues(outcomeTargetStatus)
	for _, outcome := range outcomes {
		m.scrapes.WithLabelValues(outcome)
	}
	for state := range routeStates {
		m.routes.WithLabelValues(routeState(state).String())
	}
	return m, m.register(reg)
}

func (m *metrics) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	var faults []error
	for _, c := range []prometheus.Collector{
		m.sessions, m.connects, m.rotations, m.lanes, m.routes, m.targets, m.reloadFailures, m.scrapes, m.duration,
	} {
		faults = append(faults, reg.Register(c))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

func (m *metrics) scraped(end ending, status int, took time.Duration) {
	outcome := outcomes[end.code]
	if end.code == tunnelv1.End_COMPLETE && status != http.StatusOK {
		outcome = outcomeTargetStatus
	}
	m.scrapes.WithLabelValues(outcome).Inc()
	m.duration.Observe(took.Seconds())
}
