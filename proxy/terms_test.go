package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

const timeLimit, bodyLimit = `limits := {"max_timeout_ms": 1000}`, `limits := {"max_body_bytes": 1000}`

// A scrape that fails by a limit names it: otherwise its operator raises another.
func TestFailuresNameTheLimitThatBound(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		register, scrape string
		cfg              func(*proxy.Config)
		timeout          string
		path, want, hint string
	}{
		"time of the scraper":       {timeout: "1", path: "/slow", want: "s\n", hint: "scrape_timeout"},
		"time of the proxy":         {cfg: func(c *proxy.Config) { c.MaxScrapeTimeout = time.Second }, timeout: "9", path: "/slow", want: ", the limit being the proxy's SALLYPORT_MAX_SCRAPE_TIMEOUT of 1s", hint: "raise the proxy's SALLYPORT_MAX_SCRAPE_TIMEOUT"},
		"time that nobody gave":     {cfg: func(c *proxy.Config) { c.MaxScrapeTimeout = time.Second }, path: "/slow", want: ", the limit being the proxy's SALLYPORT_MAX_SCRAPE_TIMEOUT of 1s", hint: "raise the proxy's SALLYPORT_MAX_SCRAPE_TIMEOUT"},
		"time of the route":         {register: timeLimit, timeout: "9", path: "/slow", want: ", the limit being the policy's max_timeout_ms of 1s", hint: "raise the policy's max_timeout_ms"},
		"time of the scraper's own": {scrape: timeLimit, timeout: "9", path: "/slow", want: ", the limit being the policy's max_timeout_ms of 1s", hint: "raise the policy's max_timeout_ms"},
		"body of the proxy":         {cfg: func(c *proxy.Config) { c.MaxResponse = 1000 }, path: "/large", want: "more than 1000B, the limit that the proxy set: the proxy's SALLYPORT_MAX_RESPONSE_BYTES of 1000 bytes", hint: "raise the proxy's SALLYPORT_MAX_RESPONSE_BYTES"},
		"body of the policy":        {register: bodyLimit, path: "/large", want: "more than 1000B, the limit that the proxy set: the policy's max_body_bytes of 1000 bytes", hint: "raise the policy's max_body_bytes"},
		"body of the scraper":       {scrape: bodyLimit, path: "/large", want: "more than 1000B, the limit that the proxy set: the policy's max_body_bytes of 1000 bytes", hint: "raise the policy's max_body_bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := testenv.Start(t, testenv.Config{Policy: rules("allow := true\n"+tt.register, "allow := true\n"+tt.scrape), Proxy: tt.cfg})
			w.Agent("team-a/node", testenv.Route("/slow", testenv.NewGate(t, false).URL), testenv.Route("/large", testenv.Body(t, testenv.Exposition(2000)).URL))
			var headers []string
			if tt.timeout != "" {
				headers = []string{timeout, tt.timeout}
			}
			answer := w.Scraper("prometheus").Get(tt.path, headers...)
			if !strings.Contains(string(answer.Body), tt.want) {
				t.Errorf("%d %q, want %q", answer.Status, answer.Body, tt.want)
			}
			testenv.Eventually(t, func() error {
				if !strings.Contains(w.Logs.String(), tt.hint) {
					return fmt.Errorf("the log does not say %q", tt.hint)
				}
				return nil
			})
		})
	}
}

// An agent that is stopped opens no lanes: that is told apart from one whose lanes are all
// in use, whose limit might be raised.
func TestNoLaneTellsWhoseFault(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	mute := newRawAgent(t, w, "team-a/mute")
	mute.begin()
	mute.offer(routeOffer("/team-a/mute/x"))
	gate := testenv.NewGate(t, true)
	w.StartAgent("team-a/full", testenv.AgentConfig{Change: func(c *agent.Config) { c.MaxConcurrentScrapes = 1 }}, testenv.Route("/team-a/full/x", gate.URL)).WaitReady()
	scraper := w.Scraper("prometheus")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); scraper.Do(ctx, "GET", "/team-a/full/x") }()
	<-gate.Arrived()
	for path, want := range map[string][2]string{
		"/team-a/mute/x": {"the agent does not answer: it holds 0 of 1 that it was asked for\n", "its machine"},
		"/team-a/full/x": {"all lanes that the agent allows are in use: 1\n", "raise SALLYPORT_MAX_CONCURRENT_SCRAPES"},
	} {
		answer := scraper.Get(path, timeout, "0.3")
		if answer.Outcome != "busy" || !strings.HasSuffix(string(answer.Body), want[0]) {
			t.Errorf("%s: %s %q, want %q", path, answer.Outcome, answer.Body, want[0])
		}
		testenv.Eventually(t, func() error {
			for line := range strings.Lines(w.Logs.String()) {
				if strings.Contains(line, "route="+path) && strings.Contains(line, want[1]) {
					return nil
				}
			}
			return fmt.Errorf("the log does not say %q", want[1])
		})
	}
	cancel()
	gate.Open()
	<-done
}

// What is to be typed says on which machine: the target's URL is good at the agent's only.
func TestAdviceSaysOnWhichMachine(t *testing.T) {
	t.Parallel()
	for _, advice := range proxy.Advices() {
		for _, step := range advice.Do {
			before, _, asks := strings.Cut(step, "curl -g")
			if asks && !strings.Contains(strings.ToLower(before), "on the agent's machine") {
				t.Errorf("%s: %s", advice.Case, step)
			}
		}
	}
}
