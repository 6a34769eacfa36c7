package proxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

const discovery = "/-/discovery"

// listing is a world that lists at once.
func listing(t *testing.T) *testenv.World {
	t.Helper()
	return testenv.Start(t, testenv.Config{Proxy: func(c *proxy.Config) { c.Warmup = 0 }})
}

// A scraper that is shown nothing, though there are routes, is what a wrong identity looks
// like: 200 and an empty list. That is said once, with what the policy has against it,
// and is over when it is shown something.
func TestListingOfNothingIsToldOf(t *testing.T) {
	t.Parallel()
	w := listing(t)
	curious := w.Scraper("curious")
	lines := func() (n int, last string) {
		for text := range strings.Lines(w.Logs.String()) {
			if strings.Contains(text, "msg=\"discovery shows a scraper nothing\"") {
				n, last = n+1, text
			}
		}
		return n, last
	}
	if a := curious.Get(discovery); a.Status != 200 || strings.TrimSpace(string(a.Body)) != "[]" {
		t.Fatalf("%+v", a)
	}
	if n, _ := lines(); n != 0 || len(w.Proxy.Refusals()) != 0 {
		t.Errorf("there is no route, and a refusal: %+v", w.Proxy.Refusals())
	}
	w.Agent("team-a/node", testenv.Route("/team-a/node/a", testenv.Metrics(t).URL), testenv.Route("/team-a/node/b", testenv.Metrics(t).URL))
	w.Scraper("prometheus").Get(discovery)
	curious.Get(discovery)
	curious.Get(discovery)
	refusals := w.Proxy.Refusals()
	if len(refusals) != 1 {
		t.Fatalf("%+v", refusals)
	}
	r := refusals[0]
	if r.Action != "scrape" || r.Effect != "denied" || r.Identity != testenv.ID("curious") || r.Route != discovery || r.Count != 2 || !r.Standing ||
		len(r.Reasons) == 0 || r.Decision == "" || !strings.Contains(string(r.Input), `"/team-a/node/a"`) {
		t.Errorf("remembered: %+v %s", r, r.Input)
	}
	n, said := lines()
	for _, part := range []string{"level=WARN", "scraper=" + testenv.ID("curious"), "decision=", "reasons=", "routes=2", "hint="} {
		if n != 1 || !strings.Contains(said, part) {
			t.Errorf("%d lines, without %s: %s", n, part, said)
		}
	}
	w.Proxy.SetPolicy(rules("", "allow := true"))
	testenv.Eventually(t, func() error {
		curious.Get(discovery)
		if r := w.Proxy.Refusals()[0]; r.Settled == nil || r.Standing {
			return fmt.Errorf("shown something since: %+v", r)
		}
		return nil
	})
}
