package proxy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// one is the only row of a path.
func one(t *testing.T, w *testenv.World, path string) proxy.RouteInfo {
	t.Helper()
	page := w.Proxy.Browse(proxy.RouteQuery{Path: path, Recent: true})
	if len(page.Routes) != 1 || page.Next != "" {
		t.Fatalf("%s: %+v", path, page)
	}
	return page.Routes[0]
}

// awaitOutcome waits until the last scrape is remembered: its scraper has the answer a
// moment before.
func awaitOutcome(t *testing.T, w *testenv.World, want proxy.Outcome) {
	t.Helper()
	testenv.Eventually(t, func() error {
		if last := one(t, w, path).Last; last != want {
			return fmt.Errorf("the last outcome is %q", last)
		}
		return nil
	})
}

// A route tells of its scrapes, the latest first, and why the last one failed, also when
// its agent is gone.
func TestRouteTellsItsStory(t *testing.T) {
	t.Parallel()
	var sick atomic.Bool
	target := testenv.NewTarget(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", testenv.Text)
		if sick.Load() {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write([]byte("a 1\n"))
	})
	w := testenv.Start(t, testenv.Config{})
	a := w.Agent("team-a/node", testenv.Route(path, target.URL))
	scraper := w.Scraper("prometheus")
	if before := one(t, w, path); before.Recent != nil || before.Failure != nil || before.Last != "" || before.Since == nil {
		t.Errorf("before the first scrape: %+v", before)
	}
	for range 25 {
		scraper.Get(path)
	}
	sick.Store(true)
	scraper.Get(path)
	awaitOutcome(t, w, proxy.TargetStatus)
	told := one(t, w, path)
	if len(told.Recent) != 20 || told.Last != proxy.TargetStatus {
		t.Fatalf("%d scrapes, the last %s", len(told.Recent), told.Last)
	}
	for i, s := range told.Recent {
		want := proxy.OK
		if i == 0 {
			want = proxy.TargetStatus
		}
		if s.Outcome != want || s.Bytes != 4 || s.Duration <= 0 || s.At.IsZero() || i > 0 && s.At.After(told.Recent[i-1].At) {
			t.Errorf("scrape %d: %+v", i, s)
		}
	}
	f := told.Failure
	if f == nil || f.Outcome != proxy.TargetStatus || !strings.Contains(f.Text, "418") || f.Scraper != testenv.ID("prometheus") {
		t.Errorf("the failure: %+v", f)
	}
	if n := w.Proxy.CountRoutes(proxy.RouteQuery{}); n != (proxy.RouteCounts{Served: 1, Failing: 1}) {
		t.Errorf("counted %+v", n)
	}
	a.Kill()
	testenv.Eventually(t, func() error {
		if one(t, w, path).State != "gone" {
			return errors.New("not gone yet")
		}
		return nil
	})
	scraper.Get(path)
	awaitOutcome(t, w, proxy.AgentGone)
	if gone := one(t, w, path); gone.Last != proxy.AgentGone || len(gone.Recent) != 20 || gone.Name != "team-a/node" || gone.GoneSince == nil {
		t.Errorf("gone: %+v", gone)
	}
}

// Pages that are taken one after the other are the whole list, and what is asked for is
// what comes.
func TestBrowsePages(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: anyRoute})
	target := testenv.Metrics(t)
	var routes []agent.Target
	for i := range 700 {
		routes = append(routes, testenv.Route(fmt.Sprintf("/team-a/%04d", i), target.URL))
	}
	w.Agent("team-a/one", routes...)
	w.Agent("team-b/Two", testenv.Route("/team-b/x", target.URL))
	w.Scraper("prometheus").Get("/team-b/x")
	testenv.Eventually(t, func() error {
		if w.Proxy.Browse(proxy.RouteQuery{Outcome: proxy.OK}).Routes == nil {
			return errors.New("the scrape is not remembered")
		}
		return nil
	})
	all := w.Proxy.Routes()
	var paged []proxy.RouteInfo
	pages := 0
	for q := (proxy.RouteQuery{Limit: 100}); ; pages++ {
		page := w.Proxy.Browse(q)
		paged = append(paged, page.Routes...)
		if q.After = page.Next; page.Next == "" {
			break
		}
	}
	same := func(a, b proxy.RouteInfo) bool { return a.Path == b.Path }
	if len(all) != 701 || pages != 7 || !slices.EqualFunc(all, paged, same) {
		t.Errorf("%d routes, %d on %d pages", len(all), len(paged), pages)
	}
	for _, tt := range []struct {
		q    proxy.RouteQuery
		want int
	}{
		{proxy.RouteQuery{Search: "TEAM-A/00"}, 100},
		{proxy.RouteQuery{Search: "b/two"}, 1},
		{proxy.RouteQuery{Owner: testenv.ID("team-b/Two")}, 1},
		{proxy.RouteQuery{Outcome: proxy.OK}, 1},
		{proxy.RouteQuery{State: "failing"}, 0},
		{proxy.RouteQuery{State: "gone"}, 0},
		{proxy.RouteQuery{After: "/team-a/0698"}, 2},
		{proxy.RouteQuery{After: "/team-a/0698x"}, 2},
		{proxy.RouteQuery{Path: "/team-a/000"}, 0},
	} {
		if got := w.Proxy.Browse(tt.q).Routes; len(got) != tt.want {
			t.Errorf("%+v: %d routes, want %d", tt.q, len(got), tt.want)
		}
	}
}

// What was refused is remembered with what the policy was asked, the very input of which
// the audit log has the digest, until it is allowed.
func TestRefusalsAreRemembered(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	w.Agent("team-a/node", testenv.Route("/team-b/x", testenv.Metrics(t).URL))
	w.Scraper("curious").Get("/team-b/x")
	w.Scraper("prometheus").Get("/team-b/nowhere")
	refusals := w.Proxy.Refusals()
	if len(refusals) != 3 {
		t.Fatalf("%+v", refusals)
	}
	w.Scraper("prometheus").Get("/team-b/x") // too early
	absent, denied, offer := refusals[0], refusals[1], refusals[2]
	if absent.Route != "/team-b/nowhere" || absent.Effect != "refused" || absent.Why == "" || absent.Input != nil {
		t.Errorf("a path that is no route: %+v", absent)
	}
	if denied.Action != "scrape" || denied.Effect != "denied" || denied.Identity != testenv.ID("curious") || denied.Input == nil {
		t.Errorf("a scraper that may not: %+v", denied)
	}
	if offer.Action != "register" || !offer.Standing || len(offer.Reasons) == 0 || offer.Decision == "" || offer.Count != 1 {
		t.Errorf("an offer that may not: %+v", offer)
	}
	sum := sha256.Sum256(offer.Input)
	if events := w.Audit.Events("register", authz.Denied); len(events) != 1 || events[0].Digest() != hex.EncodeToString(sum[:]) {
		t.Errorf("the input is not that of the audit log: %s", offer.Input)
	}
	w.Proxy.SetPolicy(anyRoute)
	testenv.Eventually(t, func() error {
		for _, r := range w.Proxy.Refusals() {
			if r.Action == "register" && r.Settled == nil {
				return fmt.Errorf("%+v", r)
			}
			if r.Standing != (r.Route == "/team-b/nowhere") {
				return fmt.Errorf("what stands is not what is refused still: %+v", r)
			}
		}
		return nil
	})
}

// A scraper that was denied a route is so still while the same policy decides on the same
// route, and no longer than that is known.
func TestDenialOfAScrapeStands(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	target := testenv.Metrics(t)
	curious := w.Scraper("curious")
	stands := func(when string, want bool) {
		t.Helper()
		for _, r := range w.Proxy.Refusals() {
			if r.Standing != want {
				t.Errorf("%s: %+v", when, r)
			}
		}
	}
	curious.Get(path)
	stands("nobody has registered it", true)
	first := w.Agent("team-a/node", testenv.Route(path, target.URL))
	stands("registered since", false)
	curious.Get(path)
	stands("denied again", true)
	w.Agent("team-a/node", testenv.Route(path, target.URL))
	stands("registered by a second session", false)
	curious.Get(path)
	first.Kill()
	stands("the other session has it still", true)
	w.Proxy.SetPolicy(rules("", "allow := true"))
	if a := curious.Get(path); a.Status != http.StatusOK {
		t.Fatalf("%+v", a)
	}
	stands("allowed by another policy", false)
	w.Proxy.SetPolicy(rules("", ""))
	curious.Get(path)
	stands("denied by a third", true)
}

// The values of a query, in which credentials may be, are not kept; what else was asked
// is.
func TestQueriesAreRememberedWithoutValues(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	w.Scraper("curious").Get(path + "?token=s3cr3t&token=s3cr3t2&x")
	w.Scraper("other").Get(path)
	refusals := w.Proxy.Refusals()
	if len(refusals) != 2 || refusals[0].Redacted || !refusals[1].Redacted {
		t.Fatalf("%+v", refusals)
	}
	input := string(refusals[1].Input)
	if strings.Contains(input, "s3cr3t") || !strings.Contains(input, `"query":{"token":["redacted","redacted"],"x":["redacted"]}`) {
		t.Errorf("remembered: %s", input)
	}
	events := w.Audit.Events("scrape", authz.Denied)
	sum := sha256.Sum256(refusals[0].Input)
	if len(events) != 2 || events[1].Digest() != hex.EncodeToString(sum[:]) {
		t.Errorf("the input without a query is not that of the audit log: %s", refusals[0].Input)
	}
}

// What a scraper does wrong is told of its scrapes, and does not make the route fail, nor
// hide why it does.
func TestScraperMakesNoRouteFail(t *testing.T) {
	t.Parallel()
	var late atomic.Bool
	target := testenv.NewTarget(t, func(w http.ResponseWriter, r *http.Request) {
		if late.Load() {
			<-r.Context().Done()
		}
		w.Header().Set("Content-Type", testenv.Text)
	})
	w := testenv.Start(t, testenv.Config{})
	w.Agent("team-a/node", testenv.Route(path, target.URL))
	scraper := w.Scraper("prometheus")
	remembered := func(n int, last, latest, failure proxy.Outcome) {
		t.Helper()
		testenv.Eventually(t, func() error {
			told := one(t, w, path)
			if len(told.Recent) != n || told.Recent[0].Outcome != latest || told.Last != last || told.Failure == nil || told.Failure.Outcome != failure {
				return fmt.Errorf("%+v, %+v", told, told.Failure)
			}
			return nil
		})
	}
	scraper.Get(path)
	scraper.Get(path + "?x=1")
	remembered(2, proxy.OK, proxy.BadRequest, proxy.BadRequest)
	late.Store(true)
	const timeout = "X-Prometheus-Scrape-Timeout-Seconds"
	if a := scraper.Get(path, timeout, "0.05"); a.Status != http.StatusGatewayTimeout {
		t.Fatalf("%+v", a)
	}
	if told := w.Proxy.CountRoutes(proxy.RouteQuery{}); told.Failing != 0 {
		t.Errorf("failing: %+v", told)
	}
	testenv.Eventually(t, func() error {
		if told := one(t, w, path); len(told.Recent) != 3 || told.Last != proxy.OK {
			return fmt.Errorf("%+v", told)
		}
		return nil
	})
	scraper.Get(path, timeout, "1")
	remembered(4, proxy.TargetTimeout, proxy.TargetTimeout, proxy.TargetTimeout)
	scraper.Get(path + "?x=1")
	remembered(5, proxy.TargetTimeout, proxy.BadRequest, proxy.TargetTimeout)
}
