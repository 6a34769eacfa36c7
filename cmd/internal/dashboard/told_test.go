package dashboard_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/dashboard"
	"github.com/seed-951114d4/sallyport/proxy"
)

// oneRoute is a proxy that serves /a, scraped well at last.
func oneRoute() *fake {
	now := time.Now()
	return &fake{routes: []proxy.RouteInfo{{
		Path: "/a", Owner: "spiffe://example.org/a", State: "served", Session: "S", Agent: &proxy.AgentInfo{}, Since: &now, Last: proxy.OK,
		Target: &proxy.TargetInfo{Scheme: "http", Host: "localhost", Port: 80, Path: "/metrics"},
	}}}
}

// A scraper that asked before its route was there was not refused by the policy, and is
// not told of as if it had been.
func TestOnlyThePolicyRefusesScrapers(t *testing.T) {
	t.Parallel()
	for effect, want := range map[string]bool{"denied": true, "revoked": true, "refused": false} {
		f := oneRoute()
		f.refusals = []proxy.RefusalInfo{{Action: "scrape", Effect: effect, Identity: "spiffe://example.org/prometheus", Route: "/a", Standing: true, Last: time.Now()}}
		server := newServer(t, f, authz.Status{}, nil)
		for target, text := range map[string]string{"/": "refused to 1 scraper lately", "/route?path=/a": "A scraper was refused lately"} {
			if _, body, _ := get(t, server, target); strings.Contains(body, text) != want {
				t.Errorf("%s of a scraper that was %s: %q is %v", target, effect, text, !want)
			}
		}
	}
}

// What was left out of an input is said beside its command, and what is too long for a
// page is left to the list.
func TestInputsOfRefusals(t *testing.T) {
	t.Parallel()
	f := &fake{refusals: []proxy.RefusalInfo{{Action: "scrape", Effect: "denied", Identity: "i", Route: "/a", Standing: true, Last: time.Now(), Input: json.RawMessage(`{}`), Redacted: true}}}
	_, body, _ := get(t, newServer(t, f, authz.Status{Name: "builtin:default"}, nil), "/refusals")
	if !strings.Contains(body, "policy eval") || !strings.Contains(body, "The values of the query are left out") {
		t.Errorf("a query without its values: %s", body)
	}

	f.refusals = nil
	for i := range 32 {
		input, err := json.Marshal(strings.Repeat("\x01", 8<<10))
		if err != nil {
			t.Fatal(err)
		}
		f.refusals = append(f.refusals, proxy.RefusalInfo{Action: "register", Effect: "denied", Identity: "i", Route: fmt.Sprint("/", i), Standing: true, Last: time.Now(), Input: input})
	}
	_, body, _ = get(t, newServer(t, f, authz.Status{}, nil), "/refusals")
	if n := strings.Count(body, `href="/api/v1/refusals?owner=i&amp;route=%2F`); n != 32 || len(body) > 64<<10 {
		t.Errorf("%d links to the inputs, in a page of %d bytes", n, len(body))
	}
}

// A listing from which all was withheld is told of, and leads to no route's page.
func TestEmptyListingIsShown(t *testing.T) {
	t.Parallel()
	f := &fake{refusals: []proxy.RefusalInfo{{Action: "scrape", Effect: "denied", Identity: "i", Route: proxy.DiscoveryPath, Reasons: []string{"not you"}, Standing: true, Last: time.Now(), Input: json.RawMessage(`{}`)}}}
	_, body, _ := get(t, newServer(t, f, authz.Status{Name: "builtin:default"}, nil), "/refusals")
	if !strings.Contains(body, "to find any route at") || !strings.Contains(body, "not you") || !strings.Contains(body, "policy eval") || strings.Contains(body, "/route?path") {
		t.Errorf("the page: %s", body)
	}
}

// Of a path that can be no route's its page says what is wrong with it.
func TestAdviceOnMalformedPaths(t *testing.T) {
	t.Parallel()
	f := &fake{refusals: []proxy.RefusalInfo{{Action: "scrape", Effect: "refused", Identity: "i", Route: "/metrics", Why: "does the job lack it?", Standing: true, Last: time.Now()}}}
	_, body, _ := get(t, newServer(t, f, authz.Status{}, nil), "/route?path=/metrics")
	if !strings.Contains(body, "does the job lack it?") || !strings.Contains(body, "lacks metrics_path") || strings.Contains(body, "nobody asked for it") {
		t.Errorf("the page: %s", body)
	}
}

// A route that is gone tells why its last session ended.
func TestGoneRouteSaysWhy(t *testing.T) {
	t.Parallel()
	f, since := oneRoute(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.routes[0].State, f.routes[0].Session, f.routes[0].GoneSince, f.routes[0].GoneReason = "gone", "", &since, "the certificate ended"
	_, body, _ := get(t, newServer(t, f, authz.Status{}, nil), "/route?path=/a")
	if !strings.Contains(body, "Its last session ended at 2 Jan 03:04:05 UTC: the certificate ended.") || !strings.Contains(body, "SALLYPORT_PROXY_ID") {
		t.Errorf("the page: %s", body)
	}
}

// While discovery does not answer yet, the first page says so, and until when.
func TestWarmUpIsShown(t *testing.T) {
	t.Parallel()
	for begins, want := range map[time.Time]bool{{}: false, time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC): true} {
		f := oneRoute()
		f.begins = begins
		_, body, _ := get(t, newServer(t, f, authz.Status{}, nil), "/")
		if strings.Contains(body, "Discovery answers 503") != want || strings.Contains(body, "2 Jan 03:04:05") != want {
			t.Errorf("it begins at %s: %s", begins, body)
		}
	}
}

// A refusal that does not stand any more says what ended it.
func TestRefusalSaysWhatEndedIt(t *testing.T) {
	t.Parallel()
	at := time.Now()
	f := &fake{refusals: []proxy.RefusalInfo{
		{Action: "register", Effect: "denied", Identity: "i", Route: "/a", Last: at, Settled: &at},
		{Action: "register", Effect: "denied", Identity: "i", Route: "/b", Last: at, TakenBack: &at},
	}}
	_, body, _ := get(t, newServer(t, f, authz.Status{}, nil), "/refusals?show=all")
	if strings.Count(body, "Allowed <time") != 1 || strings.Count(body, "Taken back <time") != 1 {
		t.Errorf("the page: %s", body)
	}
}

// Where refusals were forgotten the pages do not say that there are no others.
func TestForgottenRefusalsAreTold(t *testing.T) {
	t.Parallel()
	f := &fake{refusals: []proxy.RefusalInfo{{Action: "register", Effect: "denied", Identity: "i", Route: "/b", Standing: true, Last: time.Now()}}}
	server := newServer(t, f, authz.Status{}, nil)
	texts := map[string][]string{
		"/":                  {"or more Refused", "1 or more in all"},
		"/?q=b":              {"1 of 1 or more match"},
		"/refusals":          {"or more Standing", "the latest 1; 68 others"},
		"/refusals?show=all": {"the latest 1; 68 others"},
		"/route?path=/c":     {"more is refused than is remembered"},
	}
	for _, some := range []bool{false, true} {
		if some {
			f.lacks.Agents = proxy.Forgotten{Count: 68, Standing: true}
		}
		for target, said := range texts {
			_, body, _ := get(t, server, target)
			for _, text := range said {
				if strings.Contains(body, text) != some {
					t.Errorf("%s, some forgotten: %v: %q is %v", target, some, text, !some)
				}
			}
			if some && strings.Contains(body, "nobody asked for it") {
				t.Errorf("%s says that nobody asked for it", target)
			}
		}
	}
}

// A scrape that failed by its scraper's doing leaves the route as it is, and what to do is
// said all the same.
func TestAdviceOnAScraperWhoIsWrong(t *testing.T) {
	t.Parallel()
	f := oneRoute()
	f.routes[0].Recent = []proxy.ScrapeInfo{{At: time.Now(), Outcome: proxy.BadRequest}, {At: time.Now(), Outcome: proxy.OK}}
	_, body, _ := get(t, newServer(t, f, authz.Status{}, nil), "/route?path=/a")
	if !strings.Contains(body, "The last scrape failed: bad_request") || !strings.Contains(body, `class="chip served"`) {
		t.Errorf("the page: %s", body)
	}
}

// A command of the advice asks one URL of visible ASCII, also where the target is the agent
// itself.
func TestAdviceAsksOneURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target proxy.TargetInfo
		want   string
	}{
		{proxy.TargetInfo{Scheme: "http", Host: "::1", Port: 80, Path: "/m[1]"}, "<code>curl -g -v &#39;http://[::1]:80/m[1]&#39;</code>"},
		{proxy.TargetInfo{Scheme: "self"}, "<code>curl -g -v http://127.0.0.1:8093/metrics</code>"},
		{proxy.TargetInfo{Scheme: "http", Host: "127.0.0.1\u3164@ev\u0456l", Port: 80, Path: "/"}, "<code>curl -g -v URL_OF_THE_TARGET</code>"},
	} {
		f := oneRoute()
		f.routes[0].Last, f.routes[0].Target = proxy.TargetUnreachable, &c.target
		_, body, _ := get(t, newServer(t, f, authz.Status{}, nil), "/route?path=/a")
		if !strings.Contains(body, c.want) || strings.Contains(body, "self://") {
			_, body, _ = strings.Cut(body, "<code>curl")
			t.Errorf("%+v: %.100s", c.target, body)
		}
	}
}

// What is not well is told in the same order each time, and all of it.
func TestAlertsKeepTheirPlaces(t *testing.T) {
	t.Parallel()
	health := func() authn.Health { return authn.Health{Cause: "no key", Revocation: "too old"} }
	server := newServerOf(t, dashboard.Parts{
		Proxy: &fake{}, Policy: func() authz.Status { return authz.Status{} }, Ready: func() error { return nil },
		Sources: map[string]func() authn.Health{"tunnel": health, "scrape": health}, Strangers: func() []dashboard.Stranger { return nil },
	})
	seen := make(map[string]bool)
	for range 30 {
		_, body, _ := get(t, server, "/agents")
		_, body, _ = strings.Cut(body, `id="alerts"`)
		body, _, _ = strings.Cut(body, "<h1>")
		if strings.Count(body, "no key") != 2 || strings.Count(body, "too old") != 2 {
			t.Fatalf("the alerts: %s", body)
		}
		seen[body] = true
	}
	if len(seen) != 1 {
		t.Errorf("nothing changed, and there are %d versions of the alerts", len(seen))
	}
}

// Each page says while it can be mended that the proxy's certificate is not renewed, and
// that Prometheus does not get as far as the routes, which look well then.
func TestAlertsComeInTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	half := authn.Health{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	late := authn.Health{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Minute)}
	often := dashboard.Stranger{Listener: "scrape", Count: 3, Last: now}
	once, long, elsewhere := often, often, often
	once.Count, long.Last, elsewhere.Listener = 1, now.Add(-time.Hour), "tunnel"
	for _, tt := range []struct {
		health   authn.Health
		stranger dashboard.Stranger
		name     string
		want     string
	}{
		{half, once, "", ""}, {half, long, "", ""}, {half, elsewhere, "", ""},
		{late, once, "", "is not renewed yet.</strong> It ends at "},
		{half, often, "", "Scrapers fail to connect."},
		{half, once, "not for that host", "not for that host"},
	} {
		server := newServerOf(t, dashboard.Parts{
			Proxy: &fake{}, Policy: func() authz.Status { return authz.Status{} }, Ready: func() error { return nil },
			Sources:    map[string]func() authn.Health{"tunnel": func() authn.Health { return tt.health }},
			Renewals:   map[string]string{"tunnel": "renew the files"},
			ScrapeName: func() string { return tt.name },
			Strangers:  func() []dashboard.Stranger { return []dashboard.Stranger{tt.stranger} },
		})
		_, body, _ := get(t, server, "/")
		if alerts := strings.Count(body, `role="alert"`); !strings.Contains(body, tt.want) || (alerts == 1) != (tt.want != "") {
			t.Errorf("want %q, there are %d alerts", tt.want, alerts)
		}
	}
}

func TestCancelledScrapesAreNotGood(t *testing.T) {
	t.Parallel()
	for label, outcomes := range map[string][]proxy.Outcome{
		"the last 2 scrapes were good,":                 {proxy.OK, proxy.OK},
		"0 good and 2 cancelled of the last 2 scrapes,": {proxy.Cancelled, proxy.Cancelled},
		"1 of the last 2 scrapes failed,":               {proxy.Cancelled, proxy.Busy},
	} {
		f := oneRoute()
		for _, outcome := range outcomes {
			f.routes[0].Recent = append(f.routes[0].Recent, proxy.ScrapeInfo{At: time.Now(), Outcome: outcome})
		}
		if _, body, _ := get(t, newServer(t, f, authz.Status{}, nil), "/"); !strings.Contains(body, `aria-label="`+label) {
			t.Errorf("%v is not told as %q", outcomes, label)
		}
	}
}

// When a route was scraped last, and how long that took, is told of the scrape whose
// outcome stands beside it.
func TestLastOutcomeIsThatOfOneScrape(t *testing.T) {
	t.Parallel()
	f := oneRoute()
	f.routes[0].Recent = []proxy.ScrapeInfo{{At: time.Now(), Outcome: proxy.BadRequest}, {At: time.Now(), Outcome: proxy.OK, Duration: .5, Bytes: 4321}}
	if _, body, _ := get(t, newServer(t, f, authz.Status{}, nil), "/"); !strings.Contains(body, "4.2 KiB") {
		t.Errorf("the size of another scrape stands beside ok: %s", body)
	}
}

// Each page of the sessions says which of them it has.
func TestPagesOfAgents(t *testing.T) {
	t.Parallel()
	f := &fake{sessions: make([]proxy.SessionInfo, 230)}
	for i := range f.sessions {
		f.sessions[i].ID = fmt.Sprint(i)
	}
	server := newServer(t, f, authz.Status{}, nil)
	for target, want := range map[string]string{
		"/agents": "the first 100", "/agents?after=100": "the next 100", "/agents?after=200": "the last 30", "/agents?after=230": "None is left.",
	} {
		if _, body, _ := get(t, server, target); !strings.Contains(body, ">"+want+"<") {
			t.Errorf("%s does not say %q", target, want)
		}
	}
	f.sessions = f.sessions[:1]
	if _, body, _ := get(t, server, "/agents"); !strings.Contains(body, ">1 session<") {
		t.Error("one session is not said to be one")
	}
}
