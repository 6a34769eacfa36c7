package policies_test

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/policies"
)

const (
	serial = "0a1b2c"
	key    = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

var proxy = authz.ProxyInput{ID: "spiffe://example.org/proxy", TrustDomain: "example.org"}

// compile loads a policy as the proxy does. Files in the place of those that ship, or
// beside them, come in pairs of name and content.
func compile(t testing.TB, name string, files ...string) *authz.Policy {
	t.Helper()
	p, err := authz.Compile(t.Context(), folder(t, name, files...), authz.Options{
		// A busy machine must not turn an answer into a fault.
		Timeout:      5 * time.Second,
		CacheEntries: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func folder(t testing.TB, name string, files ...string) fstest.MapFS {
	t.Helper()
	shipped, changed := builtin(t, name), make(fstest.MapFS)
	names, err := fs.Glob(shipped, "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range names {
		content, err := fs.ReadFile(shipped, file)
		if err != nil {
			t.Fatal(err)
		}
		changed[file] = &fstest.MapFile{Data: content}
	}
	for pair := range slices.Chunk(files, 2) {
		changed[pair[0]] = &fstest.MapFile{Data: []byte(pair[1])}
	}
	return changed
}

// agent is the one with that identity, a SPIFFE ID or a DNS name.
func agent(id string) authz.AgentInput {
	a := authz.AgentInput{ID: id, Kind: "dns", Segments: []string{id}, Serial: serial, SPKISHA256: key, Source: "files"}
	if rest, ok := strings.CutPrefix(id, "spiffe://"); ok {
		segments := strings.Split(rest, "/")
		a.Kind, a.TrustDomain, a.Segments = "spiffe", segments[0], segments[1:]
	}
	return a
}

// scraper is the one with that identity, nobody for an empty one.
func scraper(id string) authz.ScraperInput {
	if id == "" {
		return authz.ScraperInput{Kind: "anonymous"}
	}
	a := agent(id)
	return authz.ScraperInput{ID: a.ID, Kind: a.Kind, TrustDomain: a.TrustDomain, Segments: a.Segments}
}

func offer(id, path string) authz.RegisterInput {
	return authz.RegisterInput{
		Agent: agent(id),
		Route: authz.RouteClaim{Path: path, Segments: strings.Split(path[1:], "/")},
		Proxy: proxy,
	}
}

func request(id, path string) authz.ScrapeInput {
	return authz.ScrapeInput{
		Scraper: scraper(id),
		Route:   authz.ScrapeRoute{Path: path, Segments: strings.Split(path[1:], "/")},
		Proxy:   proxy,
	}
}

func adminRequest(id, path string) authz.AdminInput {
	return authz.AdminInput{Scraper: scraper(id), Request: authz.AdminRequest{Method: "GET", Path: path}, Proxy: proxy}
}

func session(id string) authz.SessionInput { return authz.SessionInput{Agent: agent(id), Proxy: proxy} }

// prodData is an example of what an operator might write.
const prodData = `{
  "grants": {
    "spiffe://example.org/node/*": {
      "note": "every node, its own metrics",
      "paths": {"~/*": {"limits": {"max_routes": 20}, "labels": {"env": "prod"}}}
    },
    "spiffe://example.org/team-a/db": {
      "paths": {
        "/team-a/db": {},
        "/shared/*": {"limits": {"max_body_bytes": 1048576, "max_inflight": 2, "max_timeout_ms": 5000}}
      }
    },
    "db.example.org": {"paths": {"/db/*": {"labels": {"team": "b"}}}}
  },
  "scrapers": {
    "spiffe://example.org/prometheus/*": {"paths": {"/*": {"limits": {"max_timeout_ms": 30000}}}},
    "prometheus.team-a.example.org": {"paths": {"/team-a/*": {}}}
  },
  "admins": {"spiffe://example.org/admin/*": {"paths": {"/*": {}}}},
  "revoked": {
    "ids": {"spiffe://example.org/node/7": "scrapped", "spiffe://example.org/prometheus/old/*": "replaced"},
    "serials": {},
    "spki_sha256": {}
  }
}`

func TestDecisions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		policy, action, who, path string
		allow                     bool
	}{
		{"default", "register", "spiffe://example.org/team-a/node", "/team-a/node/x", true},
		{"default", "register", "spiffe://example.org/team-a/node", "/team-a/other", false},
		{"default", "session", "spiffe://example.com/anybody", "", true},
		{"default", "scrape", "spiffe://example.org/prometheus", "/team-a/node", true},
		{"default", "scrape", "spiffe://example.org/team-a/node", "/team-a/node", false},

		{"dev", "register", "spiffe://example.org/team-a/node", "/anything/at/all", true},
		{"dev", "register", "node.example.org", "/anything", true},
		{"dev", "register", "spiffe://example.com/team-a/node", "/team-a/node", false},
		{"dev", "session", "spiffe://example.org/team-a/node", "", true},
		{"dev", "scrape", "spiffe://example.org/prometheus", "/x", true},
		{"dev", "scrape", "spiffe://example.org/dev/ann", "/x", true},
		{"dev", "scrape", "spiffe://example.org/team-a/node", "/x", false},
		{"dev", "scrape", "spiffe://example.com/dev/ann", "/x", false},
		{"dev", "scrape", "", "/x", false},
		{"dev", "admin", "spiffe://example.org/dev/ann", "/", true},
		{"dev", "admin", "spiffe://example.org/team-a/node", "/", false},

		{"staging", "register", "spiffe://example.org/team-a/node", "/team-a/other/x", true},
		{"staging", "register", "spiffe://example.org/team-a/node", "/team-b/x", false},
		{"staging", "register", "spiffe://example.com/team-a/node", "/team-a/x", false},
		{"staging", "register", "node.example.org", "/node.example.org", true},
		{"staging", "session", "spiffe://example.org/team-a/node", "", true},
		{"staging", "scrape", "spiffe://example.org/prometheus/b", "/team-a/x", true},
		{"staging", "scrape", "prometheus.example.org", "/team-a/x", true},
		{"staging", "scrape", "spiffe://example.org/team-a/prometheus", "/team-a/x", true},
		{"staging", "scrape", "spiffe://example.org/team-a/prometheus", "/team-b/x", false},
		{"staging", "scrape", "spiffe://example.org/team-a/node", "/team-a/node", false},
		{"staging", "scrape", "", "/team-a/x", false},
		{"staging", "admin", "spiffe://example.org/admin", "/", true},
		{"staging", "admin", "spiffe://example.org/prometheus", "/metrics", true},
		{"staging", "admin", "spiffe://example.org/prometheus", "/", false},

		{"prod", "register", "spiffe://example.org/node/6", "/node/6/cpu", true},
		{"prod", "register", "spiffe://example.org/node/6", "/node/5/cpu", false},
		{"prod", "register", "spiffe://example.org/node/7", "/node/7/cpu", false},
		{"prod", "register", "spiffe://example.org/team-a/db", "/team-a/db", true},
		{"prod", "register", "spiffe://example.org/team-a/db", "/shared/x", true},
		{"prod", "register", "spiffe://example.org/team-a/db", "/shared", false},
		{"prod", "register", "spiffe://example.org/team-a/web", "/team-a/db", false},
		{"prod", "register", "spiffe://example.com/node/6", "/node/6/cpu", false},
		{"prod", "register", "db.example.org", "/db/x", true},
		{"prod", "session", "spiffe://example.org/node/6", "", true},
		{"prod", "session", "spiffe://example.org/node/7", "", false},
		{"prod", "scrape", "spiffe://example.org/prometheus/eu", "/node/6/cpu", true},
		{"prod", "scrape", "spiffe://example.org/prometheus", "/node/6/cpu", false},
		{"prod", "scrape", "spiffe://example.org/prometheus/old/1", "/node/6/cpu", false},
		{"prod", "scrape", "prometheus.team-a.example.org", "/team-a/db", true},
		{"prod", "scrape", "prometheus.team-a.example.org", "/shared/x", false},
		{"prod", "scrape", "spiffe://example.org/node/6", "/node/6/cpu", false},
		{"prod", "scrape", "", "/node/6/cpu", false},
		{"prod", "admin", "spiffe://example.org/admin/ann", "/api/v1/routes", true},
		{"prod", "admin", "spiffe://example.org/node/6", "/", false},
	}
	byName := map[string]*authz.Policy{
		"default": compile(t, "default"),
		"dev":     compile(t, "dev"),
		"staging": compile(t, "staging"),
		"prod":    compile(t, "prod", "data.json", prodData),
	}
	for _, tt := range tests {
		var d authz.Decision
		switch p := byName[tt.policy]; tt.action {
		case "register":
			d = p.Register(t.Context(), offer(tt.who, tt.path))
		case "scrape":
			d = p.Scrape(t.Context(), request(tt.who, tt.path))
		case "admin":
			d = p.Admin(t.Context(), adminRequest(tt.who, tt.path))
		case "session":
			d = p.Session(t.Context(), session(tt.who))
		}
		// Whoever is refused is told why, and nobody else is told anything.
		if d.Fault != nil || d.Allow != tt.allow || d.Allow == (len(d.Reasons) > 0) {
			t.Errorf("%s: %s %q %s: %+v", tt.policy, tt.action, tt.who, tt.path, d)
		}
	}
}

func TestObligations(t *testing.T) {
	t.Parallel()
	prod := compile(t, "prod", "data.json", prodData)
	d := prod.Register(t.Context(), offer("spiffe://example.org/team-a/db", "/shared/x"))
	want := authz.Limits{MaxBodyBytes: 1 << 20, MaxInflight: 2, MaxTimeout: 5 * time.Second}
	if d.Limits != want || len(d.Labels) != 0 {
		t.Errorf("a path with limits: %+v", d)
	}
	d = prod.Register(t.Context(), offer("spiffe://example.org/node/6", "/node/6/cpu"))
	if (d.Limits != authz.Limits{MaxRoutes: 20}) || !maps.Equal(d.Labels, map[string]string{"env": "prod"}) {
		t.Errorf("a node: %+v", d)
	}
	d = prod.Scrape(t.Context(), request("spiffe://example.org/prometheus/eu", "/node/6/cpu"))
	if (d.Limits != authz.Limits{MaxTimeout: 30 * time.Second}) {
		t.Errorf("a scraper: %+v", d)
	}

	d = compile(t, "staging").Register(t.Context(), offer("spiffe://example.org/team-a/node", "/team-a/x"))
	if d.Limits.MaxRoutes == 0 || !maps.Equal(d.Labels, map[string]string{"env": "staging", "team": "team-a"}) {
		t.Errorf("staging: %+v", d)
	}
	d = compile(t, "dev").Register(t.Context(), offer("spiffe://example.org/team-a/node", "/x"))
	if !maps.Equal(d.Labels, map[string]string{"env": "dev"}) {
		t.Errorf("dev: %+v", d)
	}
}

// What ships as prod lets nobody do anything until its data is written.
func TestProdShipsClosed(t *testing.T) {
	t.Parallel()
	p := compile(t, "prod")
	for _, who := range []string{
		"spiffe://example.org/team-a/node", "spiffe://example.org/prometheus", "spiffe://example.org/admin",
		"node.example.org", "prometheus", "admin",
	} {
		for _, path := range []string{"/", "/metrics", "/team-a/node"} {
			if p.Register(t.Context(), offer(who, path)).Allow ||
				p.Scrape(t.Context(), request(who, path)).Allow ||
				p.Admin(t.Context(), adminRequest(who, path)).Allow {
				t.Errorf("%s may do something with %s", who, path)
			}
		}
	}
}

// No shipped policy reads the time, the query or the address of a scrape, so the proxy
// may keep each decision for the next scrape of the same route.
func TestScrapeDecisionsAreKept(t *testing.T) {
	t.Parallel()
	for _, name := range policies.Names() {
		p, err := authz.Compile(t.Context(), folder(t, name), authz.Options{Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		in := request("spiffe://example.org/prometheus", "/team-a/node")
		first := p.Scrape(t.Context(), in)
		in.Now, in.Scraper.RemoteIP = time.Now().Add(time.Hour), "192.0.2.7"
		in.Request = authz.ScrapeRequest{Query: map[string][]string{"collect[]": {"cpu"}}, Timeout: time.Second}
		if again := p.Scrape(t.Context(), in); again.ID != first.ID {
			t.Errorf("%s decides twice: %+v, %+v", name, first, again)
		}
	}
}
