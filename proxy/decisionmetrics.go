package proxy

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authz"
)

// The actions that a policy decides on. Discovery asks what a scrape would ask, but
// for thousands of routes at a time, and is counted apart.
const (
	sessionAction   = "session"
	registerAction  = "register"
	scrapeAction    = "scrape"
	discoveryAction = "discovery"
	adminAction     = "admin"
)

// deciding are the metrics of the decisions on one action.
type deciding struct {
	allowed, denied, faulty prometheus.Counter
	took                    prometheus.Observer
}

// decisions makes the metrics of decisions.
func (m *metrics) decisions() []prometheus.Collector {
	results := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_proxy_decisions_total", Help: "Decisions of the policy by action and result; a fault is a denial that the policy did not mean.",
	}, []string{"action", "result"})
	took := prometheus.NewHistogramVec(histogram("sallyport_proxy_decision_duration_seconds",
		"How long decisions took, by action; a scrape's is looked up where the same was decided before, and discovery's count as scrape.",
		.000001, .0000025, .000005, .00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25),
		[]string{"action"})
	m.deciding = make(map[string]*deciding)
	for _, action := range []string{sessionAction, registerAction, scrapeAction, discoveryAction, adminAction} {
		m.deciding[action] = &deciding{
			allowed: results.WithLabelValues(action, "allow"),
			denied:  results.WithLabelValues(action, "deny"),
			faulty:  results.WithLabelValues(action, "fault"),
		}
		if action != discoveryAction && action != adminAction {
			m.deciding[action].took = took.WithLabelValues(action)
		}
	}
	return []prometheus.Collector{results, took}
}

// decided counts a decision.
func (m *metrics) decided(action string, d authz.Decision) {
	of := m.deciding[action]
	switch {
	case d.Allow:
		of.allowed.Inc()
	case faulty(d):
		of.faulty.Inc()
	default:
		of.denied.Inc()
	}
}

// timedPolicy measures how long a policy takes.
type timedPolicy struct {
	Policy
	session, register, scrape prometheus.Observer
}

func (m *metrics) timed(policy Policy) Policy {
	return timedPolicy{
		Policy:  policy,
		session: m.deciding[sessionAction].took, register: m.deciding[registerAction].took, scrape: m.deciding[scrapeAction].took,
	}
}

func (p timedPolicy) Session(ctx context.Context, input authz.SessionInput) authz.Decision {
	began := time.Now()
	decision := p.Policy.Session(ctx, input)
	p.session.Observe(time.Since(began).Seconds())
	return decision
}

func (p timedPolicy) Register(ctx context.Context, input authz.RegisterInput) authz.Decision {
	began := time.Now()
	decision := p.Policy.Register(ctx, input)
	p.register.Observe(time.Since(began).Seconds())
	return decision
}

func (p timedPolicy) Scrape(ctx context.Context, input authz.ScrapeInput) authz.Decision {
	began := time.Now()
	decision := p.Policy.Scrape(ctx, input)
	p.scrape.Observe(time.Since(began).Seconds())
	return decision
}
