package proxy_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/testenv"
)

// load scrapes paths without a pause until the returned function is called, which
// returns what went wrong.
func load(scraper *testenv.Scraper, workers int, paths ...string) (stop func() (scrapes int, failures []string)) {
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		done     = make(chan struct{})
		scrapes  int
		failures []string
	)
	for i := range workers {
		wg.Go(func() {
			for n := i; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				answer := scraper.Get(paths[n%len(paths)])
				mu.Lock()
				scrapes++
				if answer.Err != nil || answer.Status != 200 {
					failures = append(failures, fmt.Sprintf("%s: %d %s %v", paths[n%len(paths)], answer.Status, answer.Outcome, answer.Err))
				}
				mu.Unlock()
			}
		})
	}
	return func() (int, []string) {
		close(done)
		wg.Wait()
		return scrapes, failures
	}
}

// Narrowing the policy takes away what it names, with the scrapes in flight, and
// nothing else; widening it brings that back, without a reconnect.
func TestPolicyNarrowsAndWidens(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: anyRoute})
	gate, target := testenv.NewGate(t, true), testenv.Metrics(t)
	routes := []agent.Target{testenv.Route("/team-a/secret", gate.URL)}
	var others []string
	for i := range 10 {
		path := fmt.Sprintf("/team-a/other/%d", i)
		routes, others = append(routes, testenv.Route(path, target.URL)), append(others, path)
	}
	a := w.Agent("team-a/node", routes...)
	before := w.Proxy.Sessions()[0].ID
	scraper := w.Scraper("prometheus")
	stop := load(w.Scraper("prometheus/load"), 20, others...)

	flying := make(chan testenv.Answer, 1)
	go func() { flying <- scraper.Get("/team-a/secret") }()
	<-gate.Arrived()
	w.Proxy.SetPolicy(rules(`allow if input.route.segments[1] != "secret"
reasons contains "secret is out of bounds" if not allow`, ""))
	// Before the head has come through it is as if the route were not there.
	if answer := <-flying; answer.Err == nil && answer.Status != 404 {
		t.Errorf("the scrape in flight ended with %d", answer.Status)
	}
	testenv.EventuallyWithin(t, 2*time.Second, func() error {
		if n := a.Metric("sallyport_agent_routes", "state", "refused"); n != 1 {
			return fmt.Errorf("the agent knows of %v refused routes", n)
		}
		return nil
	})
	if answer := scraper.Get("/team-a/secret"); answer.Status != 404 {
		t.Errorf("the revoked route: %d", answer.Status)
	}
	revoked := w.Audit.Events("register", authz.Revoked)
	if len(revoked) != 1 || revoked[0].Route != "/team-a/secret" {
		t.Errorf("revoked: %+v", revoked)
	}
	if logs := w.Logs.String(); !strings.Contains(logs, "secret is out of bounds") || strings.Count(logs, revoked[0].Decision.ID) < 2 {
		t.Error("the logs of both sides do not have the reason and the decision")
	}

	w.Proxy.SetPolicy(anyRoute)
	testenv.EventuallyWithin(t, 2*time.Second, func() error {
		if n := a.Metric("sallyport_agent_routes", "state", "accepted"); n != 11 {
			return fmt.Errorf("%v routes are back", n)
		}
		return nil
	})
	go func() { flying <- scraper.Get("/team-a/secret") }()
	<-gate.Arrived()
	gate.Open()
	gate.Open()
	if answer := <-flying; answer.Status != 200 || answer.Err != nil {
		t.Errorf("after widening: %d %v", answer.Status, answer.Err)
	}
	testenv.Eventually(t, func() error {
		if n := w.Proxy.Metric("sallyport_proxy_scrapes_total", "outcome", "ok"); n < 101 {
			return fmt.Errorf("%v scrapes went well", n)
		}
		return nil
	})
	if scrapes, failures := stop(); len(failures) > 0 || scrapes < 100 {
		t.Errorf("%d of %d other scrapes failed: %.10q", len(failures), scrapes, failures)
	}
	if after := w.Proxy.Sessions(); len(after) != 1 || after[0].ID != before {
		t.Errorf("the agent reconnected: %v", after)
	}
}

// A serial that is denied loses its session, its routes and its scrape in flight,
// at once; another certificate of the same identity serves on.
func TestPolicyCutsASession(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: anyRoute})
	gate := testenv.NewGate(t, true)
	bad := w.Agent("team-a/node", testenv.Route("/shared", gate.URL))
	serial := w.Proxy.Sessions()[0].Agent.Serial
	scraper := w.Scraper("prometheus")
	flying := make(chan testenv.Answer, 1)
	go func() { flying <- scraper.Get("/shared") }()
	<-gate.Arrived()
	w.Agent("team-a/node", testenv.Route("/shared", testenv.Metrics(t).URL))

	w.Proxy.SetPolicy(with(rules("", ""), "session.rego", fmt.Sprintf("package sallyport.session\n\nallow if input.agent.serial != %q\nreasons contains \"this certificate is revoked\" if not allow\n", serial)))
	if answer := <-flying; answer.Err == nil && answer.Status == 200 {
		t.Errorf("the scrape in flight ended with %d", answer.Status)
	}
	testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_sessions")
	if answer := scraper.Get("/shared"); answer.Status != 200 {
		t.Errorf("the other session: %d", answer.Status)
	}
	// It comes again, and is turned away with the reason.
	testenv.Eventually(t, func() error {
		if len(w.Audit.Events("session", authz.Denied)) == 0 || bad.Ready() == nil {
			return errors.New("not back yet")
		}
		return nil
	})
	if n := len(w.Audit.Events("session", authz.Revoked)); n != 1 {
		t.Errorf("%d sessions revoked", n)
	}
	if !strings.Contains(w.Logs.String(), "this certificate is revoked") {
		t.Error("nobody says why")
	}
}

// A scraper that is no longer allowed loses its scrapes in flight.
func TestPolicyEndsScrapesInFlight(t *testing.T) {
	t.Parallel()
	for _, head := range []bool{false, true} {
		w := testenv.Start(t, testenv.Config{Policy: anyRoute})
		gate := testenv.NewGate(t, head)
		w.Agent("team-a/node", testenv.Route(path, gate.URL))
		flying := make(chan testenv.Answer, 2)
		for _, name := range []string{"prometheus/a", "prometheus/b"} {
			go func() { flying <- w.Scraper(name).Get(path) }()
			<-gate.Arrived()
		}
		w.Proxy.SetPolicy(rules("", `allow if input.scraper.segments == ["prometheus", "b"]`))
		answer := <-flying
		// What had been allowed was taken away: nobody was denied what he asked for.
		revoked, denied := w.Audit.Events("scrape", authz.Revoked), w.Audit.Events("scrape", authz.Denied)
		if len(revoked) != 1 || revoked[0].Serial == "" || !strings.HasSuffix(revoked[0].Identity, "/prometheus/a") || revoked[0].Route != path || len(denied) != 0 {
			t.Errorf("head %v: revoked %+v, denied %+v", head, revoked, denied)
		}
		if head && answer.Err == nil && answer.Status != 404 || !head && (answer.Status != 404 || answer.Outcome != "not_found") {
			t.Errorf("head %v: %d %s %v", head, answer.Status, answer.Outcome, answer.Err)
		}
		gate.Open()
		gate.Open()
		if answer := <-flying; answer.Status != 200 || answer.Err != nil {
			t.Errorf("head %v: the other scraper: %d %v", head, answer.Status, answer.Err)
		}
	}
}

// Policies that allow the same are swapped under load, and nobody notices.
func TestPolicySwapsUnderLoad(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: anyRoute})
	var routes []agent.Target
	var paths []string
	target := testenv.Metrics(t)
	for i := range 20 {
		paths = append(paths, fmt.Sprintf("/team-a/%d", i))
		routes = append(routes, testenv.Route(paths[i], target.URL))
	}
	w.Agent("team-a/node", routes...)
	stop := load(w.Scraper("prometheus"), 8, paths...)
	for i := range 30 {
		w.Proxy.SetPolicy(with(rules("", ""), "data.json", fmt.Sprintf(`{"version": %d}`, i)))
	}
	if scrapes, failures := stop(); len(failures) > 0 || scrapes == 0 {
		t.Errorf("%d of %d scrapes failed: %.10q", len(failures), scrapes, failures)
	}
}

// Limits of the policy tighten what the configuration allows, for the route and
// for the scraper.
func TestPolicyLimits(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: rules(`allow := true
limits := {"max_body_bytes": 5000, "max_routes": 3} if input.route.segments[1] != "free"
limits := {"max_timeout_ms": 3000, "max_inflight": 1} if input.route.segments[1] == "free"`, `allow := true
limits := {"max_inflight": 2} if input.scraper.segments[1] == "limited"`)})
	gate := testenv.NewGate(t, false)
	a := w.Agent("team-a/node",
		testenv.Route("/a/1big", testenv.Body(t, testenv.Exposition(6000)).URL), testenv.Route("/a/2small", testenv.Body(t, testenv.Exposition(1000)).URL),
		testenv.Route("/a/3gate", gate.URL), testenv.Route("/a/4toomuch", gate.URL), testenv.Route("/a/free", testenv.Slow(t).URL))
	if n := a.Metric("sallyport_agent_routes", "state", "refused"); n != 1 {
		t.Errorf("%v routes beyond max_routes", n)
	}
	if why := "the session holds 3 routes, as many as the policy's max_routes allows"; !strings.Contains(w.Logs.String(), why) {
		t.Errorf("the log does not say %q", why)
	}
	scraper := w.Scraper("prometheus/any")
	if answer := scraper.Get("/a/1big"); answer.Outcome != "too_large" {
		t.Errorf("over max_body_bytes: %d %s", answer.Status, answer.Outcome)
	}
	if answer := scraper.Get("/a/2small"); answer.Status != 200 {
		t.Errorf("under max_body_bytes: %d %s", answer.Status, answer.Outcome)
	}
	began := time.Now()
	results := make(chan testenv.Answer, 8)
	for range 2 {
		go func() { results <- scraper.Get("/a/free") }()
	}
	outcomes := []string{(<-results).Outcome, (<-results).Outcome}
	if fmt.Sprint(outcomes) != "[busy target_timeout]" || time.Since(began) > 20*time.Second {
		t.Errorf("max_inflight 1 and max_timeout_ms 3000: %v after %s", outcomes, time.Since(began))
	}
	limited := w.Scraper("prometheus/limited")
	for range 3 {
		go func() { results <- limited.Get("/a/3gate") }()
	}
	if answer := <-results; answer.Outcome != "busy" {
		t.Errorf("the scraper's third: %d %s", answer.Status, answer.Outcome)
	}
	for range 2 {
		gate.Open()
		if answer := <-results; answer.Status != 413 && answer.Outcome != "too_large" {
			t.Errorf("the scraper's others: %d %s", answer.Status, answer.Outcome)
		}
	}
}

// Tightening a limit on routes takes away those beyond it.
func TestPolicyTightensRoutes(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: anyRoute})
	a := w.Agent("team-a/node", routesOf(t, 9)...)
	w.Proxy.SetPolicy(rules("allow := true\nlimits := {\"max_routes\": 4}", ""))
	testenv.WaitMetric(w, w.Proxy, 4, "sallyport_proxy_routes", "state", "served")
	testenv.WaitMetric(w, a, 5, "sallyport_agent_routes", "state", "refused")
}

// The policy's labels win over the agent's, and a scrape's policy sees them.
func TestPolicyLabels(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: rules(`allow := true
labels := {"team": "a"}`, `allow if input.route.labels.team == "a"`)})
	target := testenv.Route("/a/x", testenv.Metrics(t).URL)
	target.Labels = map[string]string{"team": "forged", "zone": "eu-1"}
	w.Agent("team-a/node", target)
	route := w.Proxy.Routes()[0]
	if fmt.Sprint(route.Labels) != "map[team:a zone:eu-1]" || route.Claimed["team"] != "forged" {
		t.Errorf("labels %v, claimed %v", route.Labels, route.Claimed)
	}
	if answer := w.Scraper("prometheus").Get("/a/x"); answer.Status != 200 {
		t.Errorf("got %d", answer.Status)
	}
	w.Proxy.SetPolicy(rules("", `allow if input.route.labels.team == "a"`))
	testenv.Eventually(t, func() error {
		if answer := w.Scraper("prometheus").Get("/a/x"); answer.Status != 404 {
			return fmt.Errorf("got %d once the label was the agent's own", answer.Status)
		}
		return nil
	})
}
