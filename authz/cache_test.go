package authz_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authz"
)

const scrapeByPath = "package sallyport.scrape\n\nallow if input.route.path != \"/no\"\n\n" +
	"default allow := false\n\nreasons contains \"no\" if not allow\n"

func scrapeOf(path string) authz.ScrapeInput {
	in := prometheus()
	in.Route.Path = path
	return in
}

// asksOnce says whether a second scrape of the path gets the decision of the first.
func asksOnce(t *testing.T, p *authz.Policy, path string) bool {
	t.Helper()
	first := p.Scrape(t.Context(), scrapeOf(path))
	second := p.Scrape(t.Context(), scrapeOf(path))
	return first.ID == second.ID
}

func TestDecisionsOnScrapesAreKept(t *testing.T) {
	t.Parallel()
	files := folder(map[string]string{"scrape.rego": scrapeByPath})
	p := mustCompile(t, files, authz.Options{})
	for _, path := range []string{"/yes", "/no"} {
		first, second := p.Scrape(t.Context(), scrapeOf(path)), p.Scrape(t.Context(), scrapeOf(path))
		if first.Allow != (path == "/yes") || first.Revision != p.Revision() || first.ID == "" {
			t.Errorf("%+v", first)
		}
		if fmt.Sprint(first) != fmt.Sprint(second) {
			t.Errorf("got %+v, then %+v", first, second)
		}
	}
	if asksOnce(t, mustCompile(t, files, authz.Options{CacheEntries: -1}), "/yes") {
		t.Error("kept though nothing should be")
	}
	// The policy is the same, but its memory is its own.
	if again := mustCompile(t, files, authz.Options{}); again.Scrape(t.Context(), scrapeOf("/yes")).ID ==
		p.Scrape(t.Context(), scrapeOf("/yes")).ID {
		t.Error("two policies share a decision")
	}
	if reads, cached := (*authz.Policy)(nil).ScrapeReads(); cached || reads != nil {
		t.Error("no policy keeps decisions")
	}
}

func TestKeptDecisionsShareNothing(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{"scrape.rego": scrapeByPath}), authz.Options{})
	for range 3 {
		d := p.Scrape(t.Context(), scrapeOf("/no"))
		if !slices.Equal(d.Reasons, []string{"no"}) {
			t.Fatalf("reasons %q", d.Reasons)
		}
		d.Reasons[0] = "changed by who asked"
	}
}

func TestFaultsAreNotKept(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"scrape.rego": "package sallyport.scrape\n\nallow if input.route.path != \"/undefined\"\n\n" +
			"reasons contains \"x\" if { input.route.path == \"/error\"; to_number(input.route.path) }\n",
	}), authz.Options{})
	for _, path := range []string{"/undefined", "/error"} {
		if d := p.Scrape(t.Context(), scrapeOf(path)); d.Fault == nil || d.Allow {
			t.Errorf("%s: %+v", path, d)
		}
		if asksOnce(t, p, path) {
			t.Errorf("%s: a fault is kept", path)
		}
	}
	if !asksOnce(t, p, "/fine") {
		t.Error("nothing is kept")
	}
}

// What is asked for again and again stays, whatever else is asked for once.
func TestFloodDoesNotDriveOutWhatIsUsed(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{"scrape.rego": scrapeByPath}), authz.Options{CacheEntries: 64})
	used := p.Scrape(t.Context(), scrapeOf("/used")).ID
	for i := range 1000 {
		p.Scrape(t.Context(), scrapeOf(fmt.Sprintf("/flood-%d", i)))
		if p.Scrape(t.Context(), scrapeOf("/used")).ID != used {
			t.Fatalf("gone after %d others", i)
		}
		if entries, _ := p.CacheSize(); entries > 64 {
			t.Fatalf("%d entries", entries)
		}
	}
	if first := p.Scrape(t.Context(), scrapeOf("/flood-0")).ID; first == p.Scrape(t.Context(), scrapeOf("/flood-999")).ID {
		t.Error("two paths share a decision")
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	rego := "package sallyport.scrape\n\nallow := true\n\nreasons contains input.route.path\n"
	for _, entries := range []int{1, 2, 3, 100, 5000} {
		p := mustCompile(t, folder(map[string]string{"scrape.rego": rego}), authz.Options{CacheEntries: entries})
		long := strings.Repeat("x", 3000)
		for i := range min(2*entries+10, 400) {
			p.Scrape(t.Context(), scrapeOf(fmt.Sprintf("/%s-%d", long, i)))
		}
		// What is too long for the cache is decided each time.
		if asksOnce(t, p, strings.Repeat("y", 5000)) {
			t.Error("a key of 5,000 bytes is kept")
		}
		gotEntries, gotBytes := p.CacheSize()
		if limit := max(entries, 2); gotEntries > limit || gotBytes > max(limit<<10, 2*4<<10) {
			t.Errorf("of %d: %d entries, %d bytes", entries, gotEntries, gotBytes)
		}
		if gotEntries == 0 {
			t.Errorf("of %d: none is kept", entries)
		}
	}
}

// The policy that is put in force decides at once, whatever its predecessor kept.
func TestReplacedPolicyDecidesAnew(t *testing.T) {
	t.Parallel()
	const rego = "package sallyport.scrape\n\nallow := %t\n"
	policies := make([]*authz.Policy, 2)
	for i := range policies {
		policies[i] = mustCompile(t, folder(map[string]string{"scrape.rego": fmt.Sprintf(rego, i == 0)}), authz.Options{})
	}
	e := authz.NewEngine(policies[0])
	for round := range 10 {
		p := policies[round%2]
		e.Replace(p)
		for range 3 {
			d := e.Scrape(t.Context(), prometheus())
			if d.Allow != (round%2 == 0) || d.Revision != p.Revision() {
				t.Fatalf("round %d: %+v", round, d)
			}
		}
	}
}

func TestScrapesAtOnce(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{"scrape.rego": scrapeByPath}), authz.Options{CacheEntries: 8})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 200 {
				path := fmt.Sprintf("/%d", (i*(w+1))%12)
				if i%5 == 0 {
					path = "/no"
				}
				if d := p.Scrape(t.Context(), scrapeOf(path)); d.Allow != (path != "/no") || d.Fault != nil {
					t.Errorf("%s: %+v", path, d)
				}
			}
		})
	}
	wg.Wait()
}

// A time limit that is not a whole number of milliseconds is cut as in the document.
func TestKeysGoByTheDocument(t *testing.T) {
	t.Parallel()
	a, b := prometheus(), prometheus()
	a.Request.Timeout, b.Request.Timeout = 1500*time.Microsecond, 1900*time.Microsecond
	if !slices.Equal(authz.ScrapeKey(a, "request.timeout_ms"), authz.ScrapeKey(b, "request.timeout_ms")) {
		t.Error("two keys for one document")
	}
	a.Scraper.Segments, b.Scraper.Segments = nil, []string{}
	a.Route.Labels, b.Route.Labels = nil, map[string]string{}
	for _, name := range []string{"scraper.segments", "route.labels"} {
		if !slices.Equal(authz.ScrapeKey(a, name), authz.ScrapeKey(b, name)) {
			t.Errorf("%s: two keys for one document", name)
		}
	}
}
