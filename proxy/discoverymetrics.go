package proxy

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// WarmingUp is how discovery ends right after a start.
const WarmingUp Outcome = "warming_up"

// DiscoveryOutcomes lists every way in which a request for targets can end, with its
// HTTP status.
func DiscoveryOutcomes() []OutcomeInfo {
	return []OutcomeInfo{
		{OK, http.StatusOK, "the routes that this scraper may scrape, and no others"},
		{BadRequest, http.StatusBadRequest, "a query, a body, HTTP/1.0"},
		{Unauthenticated, http.StatusUnauthorized, "no credential where one is needed"},
		{Method, http.StatusMethodNotAllowed, "anything but GET"},
		{WarmingUp, http.StatusServiceUnavailable, "the proxy has just started, and agents are coming back: see `SALLYPORT_DISCOVERY_WARMUP`"},
		{Busy, http.StatusServiceUnavailable, "too many listings at once, of this scraper or of all, or the routes were not decided in time"},
		{Draining, http.StatusServiceUnavailable, "the proxy is stopping"},
		{Truncated, 0, "the policy changed in the middle of a long list, or its time was up: the connection breaks, and Prometheus keeps the targets that it has"},
		{Cancelled, 0, "the scraper hung up, stopped reading, or its credential ended meanwhile: the connection breaks"},
	}
}

// discovering makes the metrics of discovery.
func (m *metrics) discovering() {
	m.discoveries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_proxy_discoveries_total", Help: "Requests of scrapers for their targets, by how they ended.",
	}, []string{"outcome"})
	m.discovery = prometheus.NewHistogram(histogram("sallyport_proxy_discovery_duration_seconds",
		"How long it took to decide and send a list of targets, or to refuse it.",
		.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30))
	for _, info := range DiscoveryOutcomes() {
		m.discoveries.WithLabelValues(string(info.Outcome))
	}
}

func (m *metrics) discovered(outcome Outcome, took time.Duration) {
	m.discoveries.WithLabelValues(string(outcome)).Inc()
	m.discovery.Observe(took.Seconds())
}
