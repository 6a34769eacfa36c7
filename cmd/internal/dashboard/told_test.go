package dashboard_test

import (
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
