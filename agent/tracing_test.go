package agent_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/seed-951114d4/sallyport/agent"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// What a proxy says of its trace is believed where it is well-formed, and says nothing but
// what our span belongs to.
func TestTraceparentOfAProxy(t *testing.T) {
	t.Parallel()
	url := startTarget(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("traceparent") != "" {
			t.Error("the target is told of the trace")
		}
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "up 1\n")
	})
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder), sdktrace.WithSampler(sdktrace.AlwaysSample()))
	a, err := agent.New(agent.Config{
		ProxyAddrs: []string{"localhost:1"}, Name: "a", MaxConcurrentScrapes: 1, MaxResponseBytes: 1 << 20,
		Targets: agent.Targets{{Path: "/a", URL: url + "/hidden?token=hidden"}},
	}, agent.Parts{Tracer: provider.Tracer("test")})
	if err != nil {
		t.Fatal(err)
	}
	scrape := agent.Scraper(t, a, func(*tunnelv1.LaneReply) error { return nil })
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, parent := range []string{
		"", "rubbish", good[:54], good + "-more", "ff" + good[2:], "00-" + strings.Repeat("0", 32) + good[35:], good[:53] + "00",
		strings.Repeat("0", 55), strings.ToUpper(good), strings.Repeat(good, 1000), good[:54] + "\n", good,
	} {
		if err := scrape(t.Context(), &tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 20_000, Traceparent: parent}); err != nil {
			t.Fatal(err)
		}
	}
	spans := recorder.Ended()
	if len(spans) != 1 || spans[0].SpanContext().TraceID().String() != good[3:35] || spans[0].Parent().SpanID().String() != good[36:52] {
		t.Fatalf("%d spans: %v", len(spans), spans)
	}
	for _, attribute := range spans[0].Attributes() {
		if strings.Contains(attribute.Value.String(), "hidden") {
			t.Errorf("%s is %s", attribute.Key, attribute.Value.String())
		}
	}
}
