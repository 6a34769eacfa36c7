package testenv_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/fstest"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// traced is a provider whose spans stay here.
func traced(t *testing.T, sampler sdktrace.Sampler) (*sdktrace.TracerProvider, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder), sdktrace.WithSampler(sampler))
	return provider, recorder
}

func names(recorder *tracetest.SpanRecorder) []string {
	var all []string
	for _, span := range recorder.Ended() {
		all = append(all, span.Name())
	}
	slices.Sort(all)
	return all
}

// anything allows what is asked.
var anything = fstest.MapFS{
	"register.rego": &fstest.MapFile{Data: []byte("package sallyport.register\n\nallow := true\n")},
	"scrape.rego":   &fstest.MapFile{Data: []byte("package sallyport.scrape\n\nallow := true\n")},
}

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// Whether a scrape is traced is the sampler's to say, and the scraper's where the sampler
// asks and the scraper has proved who it is. The agent adds to what the proxy traces and
// to nothing else.
func TestWhatIsTraced(t *testing.T) {
	t.Parallel()
	never := sdktrace.NeverSample()
	for name, c := range map[string]struct {
		sampler sdktrace.Sampler
		auth    proxy.ClientAuth
		headers []string
		want    int
	}{
		"always":                         {sdktrace.AlwaysSample(), proxy.ClientAuthRequire, nil, 3},
		"never":                          {never, proxy.ClientAuthRequire, []string{"traceparent", parent}, 0},
		"by the scraper":                 {sdktrace.ParentBased(never), proxy.ClientAuthRequire, []string{"traceparent", parent}, 3},
		"by a scraper that does not":     {sdktrace.ParentBased(sdktrace.AlwaysSample()), proxy.ClientAuthRequire, []string{"traceparent", parent[:53] + "00"}, 0},
		"by a scraper that says rubbish": {sdktrace.ParentBased(never), proxy.ClientAuthRequire, []string{"traceparent", "00-rubbish"}, 0},
		"by nobody in particular":        {sdktrace.ParentBased(never), proxy.ClientAuthNone, []string{"traceparent", parent}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			provider, recorder := traced(t, c.sampler)
			w := testenv.Start(t, testenv.Config{
				Tracer: provider.Tracer("proxy"), Policy: anything, Proxy: func(cfg *proxy.Config) { cfg.ClientAuth = c.auth },
			})
			ours, agents := traced(t, sdktrace.ParentBased(sdktrace.AlwaysSample()))
			a := w.StartAgent("team-a/node", testenv.AgentConfig{Tracer: ours.Tracer("agent")}, testenv.Route("/x", testenv.Metrics(t).URL))
			a.WaitReady()
			scraper := w.Scraper("prometheus")
			if c.auth == proxy.ClientAuthNone {
				scraper = w.ScraperWith(nil)
			}
			if answer := scraper.Get("/x", c.headers...); answer.Status != 200 {
				t.Fatal(answer.Status, answer.Err)
			}
			testenv.Eventually(t, func() error {
				if got := append(names(recorder), names(agents)...); len(got) != c.want {
					return fmt.Errorf("spans %q, want %d", got, c.want)
				}
				return nil
			})
		})
	}
}

// A wait for a lane is a span of its own, and how a scrape failed is in its span.
func TestSpansOfFailures(t *testing.T) {
	t.Parallel()
	provider, recorder := traced(t, sdktrace.AlwaysSample())
	gate := testenv.NewGate(t, false)
	w := testenv.Start(t, testenv.Config{Tracer: provider.Tracer("proxy"), Policy: anything})
	a := w.StartAgent("team-a/node", testenv.AgentConfig{Change: func(c *agent.Config) { c.MaxConcurrentScrapes = 1 }},
		testenv.Route("/x", gate.URL), testenv.Route("/down", "http://127.0.0.1:1/"))
	a.WaitReady()
	scraper := w.Scraper("prometheus")
	var both sync.WaitGroup
	both.Go(func() { scraper.Get("/x") })
	<-gate.Arrived()
	both.Go(func() { scraper.Get("/x") })
	testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_scrapes_waiting")
	if inFlight := w.Proxy.Metric("sallyport_proxy_scrapes_in_flight"); inFlight != 2 {
		t.Errorf("%v scrapes in flight", inFlight)
	}
	gate.Open()
	gate.Open()
	both.Wait()
	scraper.Get("/down")
	scraper.Get("/absent")
	testenv.Eventually(t, func() error {
		if got := fmt.Sprint(names(recorder)); got != "[decision decision decision decision lane wait scrape scrape scrape scrape]" {
			return fmt.Errorf("spans %s", got)
		}
		return nil
	})
	if waited := w.Proxy.Metric("sallyport_proxy_lane_wait_duration_seconds"); waited != 1 {
		t.Errorf("%v waits", waited)
	}
	outcomes := make(map[string]string)
	for _, span := range recorder.Ended() {
		of := attribute.NewSet(span.Attributes()...)
		if outcome, ok := of.Value("sallyport.outcome"); ok {
			status, _ := of.Value("http.response.status_code")
			outcomes[outcome.AsString()] = fmt.Sprint(status.AsInt64(), " ", span.Status().Code)
		}
	}
	if got := fmt.Sprint(outcomes); got != "map[not_found:404 Unset ok:200 Unset target_unreachable:502 Error]" {
		t.Errorf("outcomes %s", got)
	}
}
