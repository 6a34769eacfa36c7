package authz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// sampleTries tells a policy that is too slow, which it is every time, from a machine
// that was busy for a moment.
const sampleTries = 3

// trySamples asks one question of every kind. Any answer will do, but not a fault: a
// conflict, a builtin that fails, a value of the wrong type would deny everybody
// later, one peer at a time.
func (p *Policy) trySamples(ctx context.Context) error {
	for _, s := range samples() {
		_, err := p.answer(ctx, s.action, asked{input: s.input})
		for try := 1; try < sampleTries && errors.Is(err, ErrLate); try++ {
			_, err = p.answer(ctx, s.action, asked{input: s.input})
		}
		if err != nil && !errors.Is(err, ErrUndefined) {
			return fmt.Errorf("%s, sample of a %s: %w", s.action, s.name, err)
		}
	}
	return nil
}

type sample struct {
	name   string
	action action
	input  ast.Value
}

func samples() []sample {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	proxy := ProxyInput{ID: "spiffe://example.org/proxy", TrustDomain: "example.org"}

	spiffeAgent := RegisterInput{
		Agent: AgentInput{
			ID: "spiffe://example.org/team-a/node", Kind: "spiffe", TrustDomain: "example.org",
			Segments: []string{"team-a", "node"}, Name: "node-1", Serial: "0a1b2c",
			SPKISHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
			NotAfter:   now.Add(time.Hour), RemoteIP: "192.0.2.1", Source: "spiffe",
		},
		Route: RouteClaim{
			Path: "/team-a/node", Segments: []string{"team-a", "node"},
			Labels: map[string]string{"env": "test"},
			Target: TargetClaim{Scheme: "http", Host: "127.0.0.1", Port: 9100, Path: "/metrics"},
		},
		Proxy: proxy, Now: now,
	}
	dnsAgent := spiffeAgent
	dnsAgent.Agent.ID, dnsAgent.Agent.Kind, dnsAgent.Agent.TrustDomain = "node.example.org", "dns", ""
	dnsAgent.Agent.Segments, dnsAgent.Agent.Source = []string{"node.example.org"}, "files"
	dnsAgent.Agent.RemoteIP = "2001:db8::1"
	dnsAgent.Route.Labels = nil
	dnsAgent.State = RouteState{Owner: "node.example.org", AgentRoutes: 1, TotalRoutes: 1}

	scrapers := []struct {
		name string
		who  ScraperInput
	}{
		{"spiffe scraper", ScraperInput{ID: "spiffe://example.org/prometheus", Kind: "spiffe",
			TrustDomain: "example.org", Segments: []string{"prometheus"}, RemoteIP: "192.0.2.2"}},
		{"dns scraper", ScraperInput{ID: "prometheus.example.org", Kind: "dns",
			Segments: []string{"prometheus.example.org"}, RemoteIP: "2001:db8::2"}},
		{"jwt scraper", ScraperInput{ID: "spiffe://example.org/prometheus", Kind: "jwt",
			TrustDomain: "example.org", Segments: []string{"prometheus"}, RemoteIP: "192.0.2.2"}},
		{"anonymous scraper", ScraperInput{Kind: "anonymous", RemoteIP: "192.0.2.3"}},
	}
	all := []sample{
		{"spiffe agent", register, spiffeAgent.document()},
		{"dns agent", register, dnsAgent.document()},
		{"spiffe agent", session, SessionInput{Agent: spiffeAgent.Agent, Proxy: proxy, Now: now}.document()},
		{"dns agent", session, SessionInput{Agent: dnsAgent.Agent, Proxy: proxy, Now: now}.document()},
	}
	for _, s := range scrapers {
		registered := ScrapeInput{
			Scraper: s.who,
			Request: ScrapeRequest{Query: map[string][]string{"collect[]": {"cpu"}}, Timeout: 10 * time.Second},
			Route: ScrapeRoute{Path: "/team-a/node", Segments: []string{"team-a", "node"},
				Owner: "spiffe://example.org/team-a/node", Labels: map[string]string{"env": "test"}},
			Proxy: proxy, Now: now,
		}
		unknown := registered
		unknown.Request.Query = nil
		unknown.Route.Owner, unknown.Route.Labels = "", nil
		request := AdminInput{Scraper: s.who, Request: AdminRequest{Method: "GET", Path: "/metrics"},
			Proxy: proxy, Now: now}
		all = append(all,
			sample{s.name, scrape, registered.document()},
			sample{s.name + " of no route", scrape, unknown.document()},
			sample{s.name, admin, request.document()})
	}
	return all
}
