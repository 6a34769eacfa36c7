package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// scraping are the metrics of scrapes. What each scrape touches is looked up once, at
// the start: a label's value is hashed and locked for each time.
type scraping struct {
	outcomes map[Outcome]prometheus.Counter
	duration prometheus.Histogram
	bytes    prometheus.Counter
	size     prometheus.Histogram
	laneWait prometheus.Histogram
}

// build makes them, every series from the start, so that each can be alerted on.
func (m *scraping) build() []prometheus.Collector {
	scrapes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_proxy_scrapes_total", Help: "Scrapes by how they ended.",
	}, []string{"outcome"})
	m.outcomes = make(map[Outcome]prometheus.Counter)
	for _, info := range Outcomes() {
		m.outcomes[info.Outcome] = scrapes.WithLabelValues(string(info.Outcome))
	}
	m.duration = prometheus.NewHistogram(histogram("sallyport_proxy_scrape_duration_seconds",
		"How long scrapes took, from request to the last byte.",
		.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120))
	m.bytes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sallyport_proxy_scrape_body_bytes_total", Help: "Bytes of scrape bodies sent to scrapers, as they crossed the tunnel.",
	})
	m.size = prometheus.NewHistogram(histogram("sallyport_proxy_scrape_body_size_bytes",
		"How large the bodies of scrapes were that ended well, as they crossed the tunnel.",
		prometheus.ExponentialBuckets(1<<10, 4, 10)...)) // 1 KiB to 256 MiB
	m.laneWait = prometheus.NewHistogram(histogram("sallyport_proxy_lane_wait_duration_seconds",
		"How long scrapes waited for a lane that found none idle; its count is how many did.",
		.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30))
	return []prometheus.Collector{scrapes, m.duration, m.bytes, m.size, m.laneWait}
}

// scraped counts a scrape. The trace that it is in, if any, becomes an exemplar.
func (m *scraping) scraped(outcome Outcome, took time.Duration, traceID string) {
	m.outcomes[outcome].Inc()
	if traceID == "" {
		m.duration.Observe(took.Seconds())
		return
	}
	m.duration.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": traceID})
}
