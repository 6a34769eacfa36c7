package authz

import (
	"github.com/prometheus/client_golang/prometheus"
)

// keeperMetrics are those of a Keeper. What is in force is read from its status, so
// that no scrape sees two revisions, or none.
type keeperMetrics struct {
	reloads  prometheus.Counter
	failures prometheus.Counter
}

func newKeeperMetrics(k *Keeper, reg prometheus.Registerer) (*keeperMetrics, error) {
	m := &keeperMetrics{
		reloads: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_proxy_policy_reloads_total", Help: "Policies that replaced another.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_proxy_policy_reload_failures_total", Help: "Policies that did not load, so that the one in force stayed; one that stays broken is tried again and counts again.",
		}),
	}
	for _, collector := range []prometheus.Collector{m.reloads, m.failures, inForce{k}} {
		if err := reg.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

var (
	loadedDesc = prometheus.NewDesc("sallyport_proxy_policy_loaded_timestamp_seconds",
		"When the policy in force was loaded.", nil, nil)
	infoDesc = prometheus.NewDesc("sallyport_proxy_policy_info",
		"The revision of the policy in force; always 1.", []string{"revision"}, nil)
)

type inForce struct{ keeper *Keeper }

func (c inForce) Describe(descs chan<- *prometheus.Desc) {
	descs <- loadedDesc
	descs <- infoDesc
}

func (c inForce) Collect(metrics chan<- prometheus.Metric) {
	status := c.keeper.Status()
	loaded := float64(status.LoadedAt.UnixMilli()) / 1000
	metrics <- prometheus.MustNewConstMetric(loadedDesc, prometheus.GaugeValue, loaded)
	metrics <- prometheus.MustNewConstMetric(infoDesc, prometheus.GaugeValue, 1, status.Revision)
}
