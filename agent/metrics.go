package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what the agent does. Every label has a fixed set of values, by our
// code or our configuration: nothing that a proxy, a scraper or a target says becomes
// one.
type metrics struct {
	scraping
	targeting

	connected *prometheus.GaugeVec
	sessions  prometheus.Gauge
	connects  *prometheus.CounterVec
	ended     *prometheus.CounterVec
	rotations prometheus.Counter
	lanes     prometheus.Gauge
	routes    *prometheus.GaugeVec
}

// How an attempt to begin a session ended.
const (
	connectWelcomed    = "welcomed"    // the session began
	connectUnreachable = "unreachable" // no connection
	connectHandshake   = "handshake"   // TLS failed: who is the proxy, who are we
	connectRefused     = "refused"     // the proxy did not welcome us
)

func newMetrics(reg prometheus.Registerer, proxyAddrs []string) (*metrics, error) {
	m := &metrics{
		connected: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sallyport_agent_connected",
			Help: "How many sessions there are with the proxy of that address: 1 as a rule, 2 while one takes over from the other, 0 where there is none.",
		}, []string{"proxy"}),
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_agent_sessions",
			Help: "Sessions that a proxy has welcomed.",
		}),
		connects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_agent_connects_total",
			Help: "Attempts to begin a session, by result: welcomed, unreachable, handshake, refused.",
		}, []string{"result"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_agent_sessions_ended_total",
			Help: "Sessions that ended, by reason: drained by us, what the proxy said in its goodbye, the proxy's certificate, or a connection that broke; we connect again after all but the first.",
		}, []string{"reason"}),
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
	}
	m.begin(proxyAddrs)
	own := []prometheus.Collector{m.connected, m.sessions, m.connects, m.ended, m.rotations, m.lanes, m.routes}
	own = append(own, m.scraping.build()...)
	own = append(own, m.targeting.build()...)
	return m, register(reg, own)
}

// begin makes every series exist: what exists from the start can be alerted on from
// the start.
func (m *metrics) begin(proxyAddrs []string) {
	for _, addr := range proxyAddrs {
		m.connected.WithLabelValues(addr)
	}
	for _, result := range []string{connectWelcomed, connectUnreachable, connectHandshake, connectRefused} {
		m.connects.WithLabelValues(result)
	}
	for _, reason := range endReasons() {
		m.ended.WithLabelValues(reason)
	}
	for state := range routeStates {
		m.routes.WithLabelValues(routeState(state).String())
	}
}

// sessionBegan notes a session that the proxy of that address has welcomed.
func (m *metrics) sessionBegan(proxyAddr string) {
	m.connected.WithLabelValues(proxyAddr).Inc()
	m.sessions.Inc()
}

// sessionEnded notes how it ended; nil: we drained it.
func (m *metrics) sessionEnded(proxyAddr string, err error) {
	m.connected.WithLabelValues(proxyAddr).Dec()
	m.sessions.Dec()
	m.ended.WithLabelValues(endReason(err)).Inc()
}

func register(reg prometheus.Registerer, collectors []prometheus.Collector) error {
	if reg == nil {
		return nil
	}
	var faults []error
	for _, c := range collectors {
		faults = append(faults, reg.Register(c))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

// histogram has classic buckets for those who read these, and a native histogram,
// whose resolution is good wherever the values are, beside them.
func histogram(name, help string, buckets ...float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}
}
