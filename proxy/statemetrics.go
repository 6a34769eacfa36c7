package proxy

import "github.com/prometheus/client_golang/prometheus"

// state tells how the proxy is. It looks when it is asked, so that it costs
// nothing else.
type state struct {
	proxy                                              *Proxy
	sessions, routes, lanes, wanted, waiting, inFlight *prometheus.Desc
}

func newState(p *Proxy) state {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("sallyport_proxy_"+name, help, labels, nil)
	}
	return state{
		proxy:    p,
		sessions: desc("sessions", "Sessions of agents."),
		routes:   desc("routes", "Routes by state: served, or gone with their agent.", "state"),
		lanes:    desc("lanes", "Lanes of all sessions by state: idle, or lent to a scrape.", "state"),
		wanted:   desc("lanes_wanted", "Lanes that the agents of all sessions were asked to hold open."),
		waiting:  desc("scrapes_waiting", "Scrapes that wait for a lane."),
		inFlight: desc("scrapes_in_flight", "Scrapes and discoveries under way, from request to last byte."),
	}
}

// Describe implements prometheus.Collector.
func (c state) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.sessions, c.routes, c.lanes, c.wanted, c.waiting, c.inFlight} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c state) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value int, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	var use laneUse
	for _, s := range c.proxy.sessions.all() {
		use = use.plus(s.lanes.use())
	}
	served, gone := c.proxy.routes.count()
	gauge(c.sessions, c.proxy.sessions.count())
	gauge(c.routes, served, "served")
	gauge(c.routes, gone, "gone")
	gauge(c.lanes, use.idle, "idle")
	gauge(c.lanes, use.lent, "lent")
	gauge(c.wanted, use.wanted)
	gauge(c.waiting, use.waiting)
	gauge(c.inFlight, c.proxy.flights.count())
}
