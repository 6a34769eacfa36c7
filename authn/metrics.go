package authn

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// NewMetrics exports how the sources of the tunnel and of the scrape side are; the
// latter is nil where it is the tunnel's, or there is none.
func NewMetrics(reg prometheus.Registerer, tunnel, scrape interface{ Health() Health }) error {
	c := &collector{
		expiry:    newDesc("certificate_expiry_timestamp_seconds", "When our own certificate expires."),
		rotations: newDesc("certificate_rotations_total", "How often a newer certificate of ours took over."),
		up:        newDesc("identity_source_up", "Whether our certificate's source is well: its files can be used, or the Workload API gives it."),
		updated:   newDesc("identity_source_updated_timestamp_seconds", "When our certificate's source last gave something that can be used."),
		crl:       newDesc("crl_next_update_timestamp_seconds", "When the first of the certificate revocation lists will be out of date."),
		sides:     []side{{"tunnel", tunnel}},
	}
	if scrape != nil {
		c.sides = append(c.sides, side{"scrape", scrape})
	}
	return reg.Register(c)
}

func newDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("sallyport_"+name, help, []string{"side"}, nil)
}

// collector asks at every scrape, so nothing has to be kept in step.
type collector struct {
	expiry, rotations, up, updated, crl *prometheus.Desc
	sides                               []side
}

type side struct {
	name   string
	source interface{ Health() Health }
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	out <- c.expiry
	out <- c.rotations
	out <- c.up
	out <- c.updated
	out <- c.crl
}

// Collect implements prometheus.Collector. What has no time yet has no sample.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	for _, side := range c.sides {
		health := side.source.Health()
		up := 0.0
		if health.Up {
			up = 1
		}
		out <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, up, side.name)
		out <- prometheus.MustNewConstMetric(c.rotations, prometheus.CounterValue, float64(health.Rotations), side.name)
		for desc, at := range map[*prometheus.Desc]time.Time{c.expiry: health.NotAfter, c.updated: health.Updated, c.crl: health.CRLNextUpdate} {
			if !at.IsZero() {
				out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(at.Unix()), side.name)
			}
		}
	}
}
