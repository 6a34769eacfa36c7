package authz_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/policies"
)

func builtinDefault(t testing.TB) *authz.Policy {
	t.Helper()
	folder, ok := policies.Builtin("default")
	if !ok {
		t.Fatal("no default policy")
	}
	return mustCompile(t, folder, authz.Options{})
}

func TestDefaultPolicyRegisters(t *testing.T) {
	t.Parallel()
	p := builtinDefault(t)
	const outside = "route %s is outside of /team-a/node, the prefix of spiffe://example.org/team-a/node"
	for path, allow := range map[string]bool{
		"/team-a/node": true, "/team-a/node/disks": true,
		"/team-a/node2": false, "/team-a": false, "/team-b/node": false, "/node": false,
	} {
		in := node()
		in.Route.Path, in.Route.Segments = path, strings.Split(path[1:], "/")
		d := p.Register(t.Context(), in)
		if d.Fault != nil || d.Allow != allow {
			t.Errorf("%s: %+v", path, d)
		}
		if want := []string{strings.Replace(outside, "%s", path, 1)}; !allow && !slices.Equal(d.Reasons, want) {
			t.Errorf("%s: reasons %q", path, d.Reasons)
		}
	}

	foreign := node()
	foreign.Agent.TrustDomain = "example.com"
	if d := p.Register(t.Context(), foreign); d.Allow || d.Fault != nil || len(d.Reasons) != 1 {
		t.Errorf("of another trust domain: %+v", d)
	}

	dns := node()
	dns.Agent.ID, dns.Agent.Kind, dns.Agent.TrustDomain = "node.example.org", "dns", ""
	dns.Agent.Segments = []string{"node.example.org"}
	if d := p.Register(t.Context(), dns); d.Allow || len(d.Reasons) != 1 {
		t.Errorf("a DNS name outside of its prefix: %+v", d)
	}
	dns.Route.Segments = []string{"node.example.org", "disks"}
	if d := p.Register(t.Context(), dns); !d.Allow {
		t.Errorf("a DNS name inside of its prefix: %+v", d)
	}
}

func TestDefaultPolicyScrapes(t *testing.T) {
	t.Parallel()
	p := builtinDefault(t)
	tests := []struct {
		who   authz.ScraperInput
		allow bool
	}{
		{authz.ScraperInput{ID: "spiffe://example.org/prometheus", Kind: "spiffe", TrustDomain: "example.org", Segments: []string{"prometheus"}}, true},
		{authz.ScraperInput{ID: "spiffe://example.org/prometheus/b", Kind: "spiffe", TrustDomain: "example.org", Segments: []string{"prometheus", "b"}}, true},
		{authz.ScraperInput{ID: "prometheus.example.org", Kind: "dns", Segments: []string{"prometheus.example.org"}}, true},
		{authz.ScraperInput{ID: "spiffe://example.com/prometheus", Kind: "spiffe", TrustDomain: "example.com", Segments: []string{"prometheus"}}, false},
		{authz.ScraperInput{ID: "spiffe://example.org/team-a/node", Kind: "spiffe", TrustDomain: "example.org", Segments: []string{"team-a", "node"}}, false},
		{authz.ScraperInput{ID: "node.example.org", Kind: "dns", Segments: []string{"node.example.org"}}, false},
		{authz.ScraperInput{Kind: "anonymous"}, false},
		{authz.ScraperInput{}, false},
	}
	for _, tt := range tests {
		in := prometheus()
		in.Scraper = tt.who
		d := p.Scrape(t.Context(), in)
		if d.Fault != nil || d.Allow != tt.allow || d.Allow == (len(d.Reasons) > 0) {
			t.Errorf("%s: %+v", tt.who.ID, d)
		}
	}
}

func TestDefaultPolicyAdmits(t *testing.T) {
	t.Parallel()
	p := builtinDefault(t)
	if d := p.Admin(t.Context(), operator()); !d.Allow || d.Fault != nil {
		t.Errorf("an operator: %+v", d)
	}
	in := operator()
	in.Scraper = prometheus().Scraper
	if d := p.Admin(t.Context(), in); d.Allow || len(d.Reasons) != 1 {
		t.Errorf("Prometheus beyond /metrics: %+v", d)
	}
	in.Request.Path = "/metrics"
	if d := p.Admin(t.Context(), in); !d.Allow {
		t.Errorf("Prometheus: %+v", d)
	}
	in.Scraper = authz.ScraperInput{Kind: "anonymous"}
	if d := p.Admin(t.Context(), in); d.Allow || len(d.Reasons) != 1 {
		t.Errorf("anonymous: %+v", d)
	}
}
