package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

func routesOf(t *testing.T, n int) []agent.Target {
	url := testenv.Metrics(t).URL
	var routes []agent.Target
	for i := range n {
		routes = append(routes, testenv.Route(fmt.Sprintf("/team-a/node/%d", i), url))
	}
	return routes
}

func TestRefusedRegistration(t *testing.T) {
	t.Parallel()
	url := testenv.Metrics(t).URL
	w, scraper := world(t, testenv.Route(path, url), testenv.Route("/team-b/stolen", url))
	if answer := scraper.Get(path); answer.Status != 200 {
		t.Errorf("the allowed route: %d", answer.Status)
	}
	if answer := scraper.Get("/team-b/stolen"); answer.Status != 404 {
		t.Errorf("the refused route: %d", answer.Status)
	}
	if got := w.Proxy.Metric("sallyport_proxy_registrations_total", "result", "denied"); got != 1 {
		t.Errorf("%v denied registrations", got)
	}
}

// A route stays with the identity that registered it first, for as long as that
// one holds it, and then it is free.
func TestRouteBelongsToItsOwner(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: anyRoute})
	first := w.Agent("one", testenv.Route("/shared", testenv.Body(t, []byte("# one\n")).URL))
	w.Agent("two", testenv.Route("/shared", testenv.Body(t, []byte("# two\n")).URL))
	scraper := w.Scraper("prometheus")
	if answer := scraper.Get("/shared"); string(answer.Body) != "# one\n" {
		t.Errorf("got %d %q", answer.Status, answer.Body)
	}
	if got := w.Proxy.Metric("sallyport_proxy_registrations_total", "result", "owned"); got != 1 {
		t.Errorf("%v registrations met another owner", got)
	}
	first.Kill()
	w.Agent("three", testenv.Route("/shared", testenv.Body(t, []byte("# three\n")).URL))
	testenv.Eventually(t, func() error {
		if answer := scraper.Get("/shared"); string(answer.Body) == "# one\n" || answer.Status != 200 {
			return fmt.Errorf("got %d %q", answer.Status, answer.Body)
		}
		return nil
	})
}

// Replicas of one identity share a route: with one gone the other serves.
func TestReplicasShare(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	older := w.Agent("team-a/node", testenv.Route(path, testenv.Body(t, []byte("# older\n")).URL))
	newer := w.Agent("team-a/node", testenv.Route(path, testenv.Body(t, []byte("# newer\n")).URL))
	scraper := w.Scraper("prometheus")
	if answer := scraper.Get(path); string(answer.Body) != "# newer\n" {
		t.Errorf("with both idle: %q", answer.Body)
	}
	newer.Kill()
	testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_sessions")
	if answer := scraper.Get(path); string(answer.Body) != "# older\n" {
		t.Errorf("with the newer gone: %d %q", answer.Status, answer.Body)
	}
	older.Kill()
	testenv.WaitMetric(w, w.Proxy, 0, "sallyport_proxy_sessions")
	if answer := scraper.Get(path); answer.Status != 503 || answer.Outcome != "agent_gone" {
		t.Errorf("with both gone: %d %q", answer.Status, answer.Outcome)
	}
}

// An agent that dies in a scrape: before the head a clear answer, after it a
// break that nobody takes for an end.
func TestAgentKilledInScrape(t *testing.T) {
	t.Parallel()
	for _, head := range []bool{false, true} {
		w := testenv.Start(t, testenv.Config{})
		gate := testenv.NewGate(t, head)
		a := w.Agent("team-a/node", testenv.Route(path, gate.URL))
		result := make(chan testenv.Answer, 1)
		go func() { result <- w.Scraper("prometheus").Get(path) }()
		<-gate.Arrived()
		if head {
			testenv.Eventually(t, func() error {
				if w.Proxy.Metric("sallyport_proxy_scrape_body_bytes_total") == 0 {
					return fmt.Errorf("nothing of the body has come")
				}
				return nil
			})
		}
		a.Kill()
		answer := <-result
		if head && (answer.Err == nil || answer.Status != 200) {
			t.Errorf("after the head: %d, %d bytes, %v", answer.Status, len(answer.Body), answer.Err)
		}
		if !head && (answer.Status != 503 || answer.Outcome != "agent_gone") {
			t.Errorf("before the head: %d %q %v", answer.Status, answer.Outcome, answer.Err)
		}
	}
}

// The proxy dies and comes back: so do the agents, with every route.
func TestProxyRestart(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	a := w.Agent("team-a/node", routesOf(t, 250)...)
	w.Proxy.Kill()
	testenv.Eventually(t, func() error {
		if a.Ready() == nil {
			return fmt.Errorf("the agent has not noticed")
		}
		return nil
	})
	w.Proxy.Start()
	testenv.EventuallyWithin(t, 10*time.Second, func() error {
		if got := w.Proxy.Metric("sallyport_proxy_routes", "state", "served"); got != 250 {
			return fmt.Errorf("%v routes are back", got)
		}
		return nil
	})
	if answer := w.Scraper("prometheus").Get("/team-a/node/249"); answer.Status != 200 {
		t.Errorf("got %d %s", answer.Status, answer.Body)
	}
}

// A network that swallows everything in silence is noticed by both ends within
// 30 s, and the routes come back when it heals.
func TestSilentNetwork(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	a := w.Agent("team-a/node", testenv.Route(path, testenv.Metrics(t).URL))
	a.Link.Freeze()
	testenv.EventuallyWithin(t, 30*time.Second, func() error {
		if a.Ready() == nil || w.Proxy.Metric("sallyport_proxy_sessions") != 0 {
			return fmt.Errorf("not noticed: agent %v, %v sessions", a.Ready(), w.Proxy.Metric("sallyport_proxy_sessions"))
		}
		return nil
	})
	a.Link.Thaw()
	a.WaitReady()
	if answer := w.Scraper("prometheus").Get(path); answer.Status != 200 {
		t.Errorf("got %d %s", answer.Status, answer.Body)
	}
}

// A silent agent is told from a slow target.
func TestAgentTimeout(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	a := w.Agent("team-a/node", testenv.Route(path, testenv.Metrics(t).URL))
	// Its lane may come a moment after its routes.
	if answer := w.Scraper("prometheus").Get(path); answer.Status != 200 {
		t.Errorf("got %d %s", answer.Status, answer.Body)
	}
	a.Link.Freeze()
	answer := w.Scraper("prometheus").Get(path, timeout, "1")
	if answer.Status != 504 || answer.Outcome != "agent_timeout" {
		t.Errorf("got %d %q", answer.Status, answer.Outcome)
	}
	a.Link.Thaw()
}

// A stop lets scrapes in flight end, tells new ones so, and then tells the agents.
func TestProxyDrains(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	gate := testenv.NewGate(t, true)
	a := w.Agent("team-a/node", testenv.Route(path, gate.URL))
	scraper := w.Scraper("prometheus")
	result := make(chan testenv.Answer, 1)
	go func() { result <- scraper.Get(path) }()
	<-gate.Arrived()
	w.Proxy.Drain()
	testenv.Eventually(t, func() error {
		if w.Proxy.Ready() == nil {
			return fmt.Errorf("still ready")
		}
		return nil
	})
	if answer := scraper.Get(path); answer.Status != 503 || answer.Outcome != "draining" {
		t.Errorf("a new scrape: %d %q %v", answer.Status, answer.Outcome, answer.Err)
	}
	gate.Open()
	if answer := <-result; answer.Status != 200 || answer.Err != nil {
		t.Errorf("the scrape in flight: %d %v", answer.Status, answer.Err)
	}
	w.Proxy.Stop()
	testenv.Eventually(t, func() error {
		if !strings.Contains(w.Logs.String(), "the proxy is stopping") || a.Ready() == nil {
			return fmt.Errorf("the agent does not know")
		}
		return nil
	})
}

// An agent's stop loses no scrape in flight.
func TestAgentDrains(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	gate := testenv.NewGate(t, true)
	a := w.Agent("team-a/node", testenv.Route(path, gate.URL))
	scraper := w.Scraper("prometheus")
	result := make(chan testenv.Answer, 1)
	go func() { result <- scraper.Get(path) }()
	<-gate.Arrived()
	a.Drain()
	testenv.Eventually(t, func() error {
		if answer := scraper.Get(path, timeout, "1"); answer.Outcome != "agent_gone" {
			return fmt.Errorf("a new scrape: %d %q", answer.Status, answer.Outcome)
		}
		return nil
	})
	gate.Open()
	if answer := <-result; answer.Status != 200 || answer.Err != nil {
		t.Errorf("the scrape in flight: %d %v", answer.Status, answer.Err)
	}
	a.Stop()
}

// Whether an agent was stopped, or crashed, or the network between failed, is told apart.
func TestHowASessionEndedIsTold(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	said := func(agent, level, reason string) {
		t.Helper()
		testenv.Eventually(t, func() error {
			for line := range strings.Lines(w.Logs.String()) {
				if strings.Contains(line, "session closed") && strings.Contains(line, "agent="+testenv.ID(agent)+" ") {
					if !strings.Contains(line, "level="+level) || !strings.Contains(line, reason) {
						t.Errorf("%s: want %s and %q in %s", agent, level, reason, line)
					}
					return nil
				}
			}
			return fmt.Errorf("%s's session is not closed", agent)
		})
	}
	w.Agent("team-a/stopped", testenv.Route("/team-a/stopped", "http://127.0.0.1:1")).Stop()
	said("team-a/stopped", "INFO", "the agent left")
	w.Agent("team-a/killed", testenv.Route("/team-a/killed", "http://127.0.0.1:1")).Kill()
	said("team-a/killed", "WARN", "the connection broke")
}

func TestSessionLimits(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Proxy: func(c *proxy.Config) {
		c.MaxSessions, c.MaxSessionsPerIdentity, c.MaxRoutesPerSession = 2, 1, 3
	}})
	w.Agent("team-a/node", routesOf(t, 5)...)
	if got := w.Proxy.Metric("sallyport_proxy_registrations_total", "result", "limit"); got != 2 {
		t.Errorf("%v routes beyond the limit", got)
	}
	if why := "the session holds 3 routes, as many as the proxy's SALLYPORT_MAX_ROUTES_PER_SESSION allows"; !strings.Contains(w.Logs.String(), why) {
		t.Errorf("the log does not say %q", why)
	}
	refused := func(agent *testenv.Agent, why string) {
		t.Helper()
		testenv.Eventually(t, func() error {
			if !strings.Contains(w.Logs.String(), why) {
				return fmt.Errorf("not refused yet")
			}
			return nil
		})
		if agent.Ready() == nil {
			t.Error("a session beyond the limits is ready")
		}
	}
	refused(w.StartAgent("team-a/node", testenv.AgentConfig{}, testenv.Route(path, testenv.Metrics(t).URL)), "as many as one identity may have")
	w.Agent("team-b/node", testenv.Route("/team-b/node/x", testenv.Metrics(t).URL))
	refused(w.StartAgent("team-c/node", testenv.AgentConfig{}, testenv.Route("/team-c/node/x", testenv.Metrics(t).URL)), "as many as it takes")
	if n := len(w.Audit.Events("session", authz.Refused)); n < 2 {
		t.Errorf("%d refusals are on record", n)
	}
}

// More scrapes than lanes: they wait for one in order, and all are served.
func TestScrapesWaitForLanes(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	busy := testenv.NewTarget(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", testenv.Text)
		_, _ = io.WriteString(rw, "# ok\n")
	})
	a := w.StartAgent("team-a/node", testenv.AgentConfig{Change: func(c *agent.Config) { c.MaxConcurrentScrapes = 3 }}, testenv.Route(path, busy.URL))
	a.WaitReady()
	scraper := w.Scraper("prometheus")
	results := make(chan testenv.Answer, 200)
	for range cap(results) {
		go func() { results <- scraper.Get(path) }()
	}
	for range cap(results) {
		if answer := <-results; answer.Status != 200 {
			t.Errorf("%d %s %v", answer.Status, answer.Outcome, answer.Err)
		}
	}
	if idle := w.Proxy.Metric("sallyport_proxy_lanes", "state", "idle"); idle > 3 {
		t.Errorf("%v lanes, more than the agent's limit", idle)
	}
}

// A full house answers busy when a scrape's time is up.
func TestBusy(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	gate := testenv.NewGate(t, false)
	a := w.StartAgent("team-a/node", testenv.AgentConfig{Change: func(c *agent.Config) { c.MaxConcurrentScrapes = 1 }}, testenv.Route(path, gate.URL))
	a.WaitReady()
	scraper := w.Scraper("prometheus")
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan testenv.Answer, 1)
	go func() { result <- scraper.Do(ctx, http.MethodGet, path) }()
	<-gate.Arrived()
	if answer := scraper.Get(path, timeout, "0.3"); answer.Status != 503 || answer.Outcome != "busy" {
		t.Errorf("got %d %q", answer.Status, answer.Outcome)
	}
	cancel()
	<-result
}

// A scraper that hangs up while it waits for a lane is counted as that.
func TestHangUpInTheQueue(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	gate := testenv.NewGate(t, false)
	a := w.StartAgent("team-a/node", testenv.AgentConfig{Change: func(c *agent.Config) { c.MaxConcurrentScrapes = 1 }}, testenv.Route(path, gate.URL))
	a.WaitReady()
	scraper := w.Scraper("prometheus")
	result := make(chan testenv.Answer, 1)
	go func() { result <- scraper.Get(path) }()
	<-gate.Arrived()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if answer := scraper.Do(ctx, http.MethodGet, path); answer.Err == nil {
		t.Fatalf("served: %d %s", answer.Status, answer.Outcome)
	}
	testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_scrapes_total", "outcome", "cancelled")
	gate.Open()
	if answer := <-result; answer.Status != 200 || answer.Err != nil {
		t.Errorf("the scrape before it: %d %v", answer.Status, answer.Err)
	}
}

// A policy that has much to say about many routes does not break the session:
// reasons give way to answers.
func TestManyReasons(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: fstest.MapFS{
		"register.rego": {Data: []byte(`package sallyport.register

default allow := false

reasons contains sprintf("%d: %s", [n, input.route.path]) if some n in numbers.range(1, 16)
`)},
		"scrape.rego": anyRoute["scrape.rego"],
	}})
	url := testenv.Metrics(t).URL
	var targets []agent.Target
	for i := range 300 {
		targets = append(targets, testenv.Route(fmt.Sprintf("/%s/%d", strings.Repeat("a", 150), i), url))
	}
	a := w.Agent("team-a/node", targets...)
	testenv.WaitMetric(w, a, 300, "sallyport_agent_routes", "state", "refused")
	testenv.WaitMetric(w, a, 1, "sallyport_agent_connects_total", "result", "welcomed")
}
