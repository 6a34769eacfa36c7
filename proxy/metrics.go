package proxy

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// metrics are the proxy's own. No label takes a value that a peer chooses.
type metrics struct {
	scraping
	deciding map[string]*deciding // by action

	registrations   *prometheus.CounterVec
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
		registrations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_proxy_registrations_total", Help: "Routes that agents offered, by answer.",
		}, []string{"result"}),
		sessionsRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_proxy_sessions_refused_total", Help: "Agents that were turned away after their handshake.",
		}),
		revocations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_proxy_revocations_total", Help: "What a change of the policy ended: sessions, routes, scrapes in flight; the last also by a change of the trust.",
		}, []string{"kind"}),
		judging: prometheus.NewHistogram(histogram("sallyport_proxy_judging_duration_seconds",
			"How long it took to judge all sessions, routes and scrapes in flight again after a change of the policy.",
			.001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5)),
	}
	m.identities()
	m.discovering()
	m.begin()
	own := []prometheus.Collector{
		m.registrations, m.sessionsRefused, m.revocations, m.judging,
		m.ended, m.connectionsEnded, m.tokensRefused, m.discoveries, m.discovery,
		newPeerExpiry(p), newState(p),
	}
	own = append(own, m.scraping.build()...)
	own = append(own, m.decisions()...)
	for _, collector := range own {
		if err := reg.Register(collector); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	return m, nil
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

// begin makes every series exist, so that each can be alerted on from the start.
func (m *metrics) begin() {
	for code := range tunnelv1.RouteAnswer_Code_name {
		if code != 0 {
			m.registrations.WithLabelValues(registrationResult(tunnelv1.RouteAnswer_Code(code)))
		}
	}
	for _, kind := range []string{"session", "route", "scrape"} {
		m.revocations.WithLabelValues(kind)
	}
}
