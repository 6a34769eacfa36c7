package proxy

import (
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// targetGroup is one route as Prometheus's HTTP service discovery wants it.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// groupOf is the group of a route that is reached through target. What decides where
// Prometheus scrapes and what the series are called by is set last: nothing that an
// agent or a policy says stands in its place.
func groupOf(f found, target string) targetGroup {
	labels := make(map[string]string, len(f.labels())+6)
	maps.Copy(labels, f.labels())
	up := "0"
	if f.up() {
		up = "1"
	}
	labels["__scheme__"] = "https"
	labels["__metrics_path__"] = f.route.path
	labels["instance"] = strings.TrimPrefix(f.route.path, "/")
	labels["__meta_sallyport_agent_id"] = f.owner.String()
	labels["__meta_sallyport_agent_name"] = f.agent()
	labels["__meta_sallyport_up"] = up
	return targetGroup{Targets: []string{target}, Labels: labels}
}

// up reports whether a scrape would find a session.
func (f found) up() bool {
	return slices.ContainsFunc(f.grants, func(g *grant) bool { return !g.session.draining.Load() })
}

// agent is the name that the agent gives itself.
func (f found) agent() string {
	if g := f.newest(); g != nil {
		return g.session.agent
	}
	if f.lost != nil {
		return f.lost.agent
	}
	return ""
}

// goneBefore reports whether the route's agent went before then.
func (f found) goneBefore(then time.Time) bool {
	return len(f.grants) == 0 && (f.lost == nil || f.lost.since.Before(then))
}

// sorted are all routes by path, so that one listing looks like the next.
func (t *table) sorted() []*route {
	t.mu.RLock()
	routes := slices.AppendSeq(make([]*route, 0, len(t.routes)), maps.Values(t.routes))
	t.mu.RUnlock()
	slices.SortFunc(routes, func(a, b *route) int { return strings.Compare(a.path, b.path) })
	return routes
}

// target is what Prometheus connects to.
func (c Config) target() string {
	u, err := url.Parse(c.URL())
	if err != nil {
		return c.ScrapeAddr
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
