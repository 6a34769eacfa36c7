package agent

import "github.com/prometheus/client_golang/prometheus"

// targeting are the metrics of the configured targets.
type targeting struct {
	targets        prometheus.Gauge
	reloads        prometheus.Counter
	reloadFailures prometheus.Counter
	loaded         prometheus.Gauge
}

func (m *targeting) build() []prometheus.Collector {
	m.targets = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sallyport_agent_targets",
		Help: "Configured targets.",
	})
	m.reloads = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sallyport_agent_targets_reloads_total",
		Help: "Changes of the targets file that were taken over.",
	})
	m.reloadFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sallyport_agent_targets_reload_failures_total",
		Help: "Changes of the targets file that were not taken over because of a fault; one that stays counts again.",
	})
	m.loaded = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sallyport_agent_targets_loaded_timestamp_seconds",
		Help: "When the targets in force were loaded.",
	})
	return []prometheus.Collector{m.targets, m.reloads, m.reloadFailures, m.loaded}
}

// load notes how many targets are in force from now on.
func (m *targeting) load(count int) {
	m.targets.Set(float64(count))
	m.loaded.SetToCurrentTime()
}
