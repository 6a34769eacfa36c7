package agent

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// scraping are the metrics of scrapes. What each scrape touches is looked up once, at
// the start.
type scraping struct {
	outcomes map[string]prometheus.Counter
	duration prometheus.Histogram
	inFlight prometheus.Gauge
}

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

// outcomeOf is the word for how a scrape ended whose target answered with that status.
func outcomeOf(end ending, status int) string {
	if end.code == tunnelv1.End_COMPLETE && status != http.StatusOK {
		return outcomeTargetStatus
	}
	return outcomes[end.code]
}

// build makes them, every series from the start.
func (m *scraping) build() []prometheus.Collector {
	scrapes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_agent_scrapes_total",
		Help: "Scrapes of targets, by outcome.",
	}, []string{"outcome"})
	m.outcomes = map[string]prometheus.Counter{outcomeTargetStatus: scrapes.WithLabelValues(outcomeTargetStatus)}
	for _, outcome := range outcomes {
		m.outcomes[outcome] = scrapes.WithLabelValues(outcome)
	}
	m.duration = prometheus.NewHistogram(histogram("sallyport_agent_scrape_duration_seconds",
		"Time from a scrape request to the end of its answer.",
		.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60))
	m.inFlight = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sallyport_agent_scrapes_in_flight",
		Help: "Scrapes of targets under way; each has one of the lanes.",
	})
	return []prometheus.Collector{scrapes, m.duration, m.inFlight}
}

func (m *scraping) scraped(end ending, status int, took time.Duration) {
	m.outcomes[outcomeOf(end, status)].Inc()
	m.duration.Observe(took.Seconds())
}
