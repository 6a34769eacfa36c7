package proxy

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authn"
)

// identities makes the metrics of identities that end.
func (m *metrics) identities() {
	m.ended = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_proxy_sessions_ended_total",
		Help: "Sessions that ended, by reason: the agent left, the policy, or why its certificate is no longer good.",
	}, []string{"reason"})
	m.connectionsEnded = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_proxy_scraper_connections_ended_total",
		Help: "Connections of scrapers that ended because their credential is no longer good, by reason; the scraper comes again.",
	}, []string{"reason"})
	m.tokensRefused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_proxy_tokens_refused_total", Help: "Bearer tokens of scrapers that were refused, by reason.",
	}, []string{"reason"})
	lapses := []authn.Reason{authn.Expired, authn.Revoked, authn.UnknownAuthority, authn.UntrustedDomain}
	for _, reason := range lapses {
		m.ended.WithLabelValues(string(reason))
		m.connectionsEnded.WithLabelValues(string(reason))
	}
	m.tokensRefused.WithLabelValues(string(authn.BadToken))
	m.tokensRefused.WithLabelValues(string(authn.Expired))
	m.ended.WithLabelValues(left)
	for _, word := range endWords {
		m.ended.WithLabelValues(word)
	}
}

// peerExpiry tells when the first certificate of an agent ends. It looks at all
// sessions when it is asked, so that it costs nothing else; without sessions there
// is nothing to tell.
type peerExpiry struct {
	proxy *Proxy
	desc  *prometheus.Desc
}

func newPeerExpiry(p *Proxy) peerExpiry {
	return peerExpiry{p, prometheus.NewDesc("sallyport_proxy_peer_certificate_expiry_timestamp_seconds",
		"When the first of the sessions ends because its certificate does.", nil, nil)}
}

// Describe implements prometheus.Collector.
func (c peerExpiry) Describe(descs chan<- *prometheus.Desc) { descs <- c.desc }

// Collect implements prometheus.Collector.
func (c peerExpiry) Collect(metrics chan<- prometheus.Metric) {
	sessions := c.proxy.sessions.all()
	if len(sessions) == 0 {
		return
	}
	first := sessions[0].peer().NotAfter
	for _, s := range sessions[1:] {
		if notAfter := s.peer().NotAfter; notAfter.Before(first) {
			first = notAfter
		}
	}
	metrics <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(first.Unix()))
}
