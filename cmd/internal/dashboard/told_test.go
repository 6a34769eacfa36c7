package dashboard_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authz"
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
