package authz_test

import (
	"io/fs"
	"maps"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-951114d4/sallyport/authz"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	denyRegister = "package sallyport.register\n\nallow := false\n"
	denyScrape   = "package sallyport.scrape\n\nallow := false\n"
)

// folder is a policy that denies, with files in the place of its own or beside them.
func folder(files map[string]string) fs.FS {
	all := map[string]string{"register.rego": denyRegister, "scrape.rego": denyScrape}
	maps.Copy(all, files)
	m := make(fstest.MapFS)
	for name, content := range all {
		m[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return m
}

func mustCompile(t testing.TB, fsys fs.FS, opts authz.Options) *authz.Policy {
	t.Helper()
	if opts.Timeout == 0 {
		// A busy machine must not turn an answer into a fault.
		opts.Timeout = 5 * time.Second
	}
	p, err := authz.Compile(t.Context(), fsys, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mustNotCompile wants an error that holds each of the words.
func mustNotCompile(t *testing.T, fsys fs.FS, words ...string) {
	t.Helper()
	p, err := authz.Compile(t.Context(), fsys, authz.Options{Timeout: 5 * time.Second})
	if err == nil {
		t.Fatal("the policy loads")
	}
	if p != nil {
		t.Error("a policy beside the error")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("no %q in: %v", word, err)
		}
	}
}

func node() authz.RegisterInput {
	return authz.RegisterInput{
		Agent: authz.AgentInput{
			ID: "spiffe://example.org/team-a/node", Kind: "spiffe", TrustDomain: "example.org",
			Segments: []string{"team-a", "node"}, Name: "node-1", Serial: "0a1b", SPKISHA256: "e3b0",
			NotAfter: time.Unix(1_800_000_000, 5), RemoteIP: "192.0.2.1", Source: "files",
		},
		Route: authz.RouteClaim{
			Path: "/team-a/node", Segments: []string{"team-a", "node"},
			Labels: map[string]string{"env": "prod"},
			Target: authz.TargetClaim{Scheme: "http", Host: "127.0.0.1", Port: 9100, Path: "/metrics"},
		},
		State: authz.RouteState{Owner: "spiffe://example.org/team-a/node", AgentRoutes: 3, TotalRoutes: 70},
		Proxy: authz.ProxyInput{ID: "spiffe://example.org/proxy", TrustDomain: "example.org"},
		Now:   time.Unix(1_700_000_000, 7),
	}
}

func prometheus() authz.ScrapeInput {
	return authz.ScrapeInput{
		Scraper: authz.ScraperInput{
			ID: "spiffe://example.org/prometheus", Kind: "spiffe", TrustDomain: "example.org",
			Segments: []string{"prometheus"}, RemoteIP: "192.0.2.2",
		},
		Request: authz.ScrapeRequest{
			Query:   map[string][]string{"collect[]": {"cpu", "disk"}},
			Timeout: 9500 * time.Millisecond,
		},
		Route: authz.ScrapeRoute{
			Path: "/team-a/node", Segments: []string{"team-a", "node"},
			Owner: "spiffe://example.org/team-a/node", Labels: map[string]string{"env": "prod"},
		},
		Proxy: authz.ProxyInput{ID: "spiffe://example.org/proxy", TrustDomain: "example.org"},
		Now:   time.Unix(1_700_000_000, 7),
	}
}

func operator() authz.AdminInput {
	return authz.AdminInput{
		Scraper: authz.ScraperInput{
			ID: "admin.example.org", Kind: "dns", Segments: []string{"admin.example.org"},
			RemoteIP: "192.0.2.3",
		},
		Request: authz.AdminRequest{Method: "GET", Path: "/api/v1/routes"},
		Proxy:   authz.ProxyInput{ID: "spiffe://example.org/proxy", TrustDomain: "example.org"},
		Now:     time.Unix(1_700_000_000, 7),
	}
}

func connection() authz.SessionInput {
	in := node()
	return authz.SessionInput{Agent: in.Agent, Proxy: in.Proxy, Now: in.Now}
}
