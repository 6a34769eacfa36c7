package testenv_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-951114d4/sallyport/testenv"
)

// A scrape is one trace, from the scraper's own span to the agent's, and a collector gets
// all of it from both daemons, by either protocol.
func TestTraceOfAScrape(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			const traceID, spanID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
			c := startCollector(t)
			endpoint := c.http
			if protocol == "grpc" {
				endpoint = c.grpc
			}
			traced := []string{
				"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol,
				"OTEL_EXPORTER_OTLP_HEADERS=x-key=hunter2", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_BSP_SCHEDULE_DELAY=20",
				// Nothing is there to connect to, and nobody may try.
				"HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1", "ALL_PROXY=http://127.0.0.1:1",
			}
			s := newSite(t)
			proxy := s.startProxy(append(s.files("proxy", proxyLeaf), traced...)...)
			target := testenv.Metrics(t)
			s.startAgent(append(append(s.files("agent", agentLeaf), traced...), "OTEL_SERVICE_NAME=inside",
				"SALLYPORT_TARGETS=/team-a/node/x="+target.URL)...)
			request, _ := http.NewRequest(http.MethodGet, "https://"+s.scrape+"/team-a/node/x", nil)
			request.Header.Set("traceparent", "00-"+traceID+"-"+spanID+"-01")
			request.Header.Set("tracestate", "vendor=secret")
			request.Header.Set("User-Agent", "secret")
			response, err := s.client().Do(request)
			if err != nil || response.StatusCode != http.StatusOK {
				t.Fatal(response, err)
			}
			response.Body.Close()
			spans := c.await(t, 3)
			scrape, decision, ours := spans["scrape"], spans["decision"], spans["scrape target"]
			if len(spans) != 3 {
				t.Fatalf("spans %v", spans)
			}
			for name, span := range spans {
				if got := hex.EncodeToString(span.GetTraceId()); got != traceID {
					t.Errorf("%s is in the trace %s", name, got)
				}
				if strings.Contains(span.String(), "secret") {
					t.Errorf("what a scraper sent is in %v", span)
				}
			}
			if got := hex.EncodeToString(scrape.GetParentSpanId()); got != spanID {
				t.Errorf("the scrape belongs to %s", got)
			}
			if string(decision.GetParentSpanId()) != string(scrape.GetSpanId()) || string(ours.GetParentSpanId()) != string(scrape.GetSpanId()) {
				t.Errorf("below other spans: %v, %v", decision, ours)
			}
			if c.key != "hunter2" {
				t.Errorf("the header is %q", c.key)
			}
			for span, want := range map[*sent]map[string]string{
				&scrape: {
					"http.request.method": "GET", "url.path": "/team-a/node/x", "http.response.status_code": "200", "sallyport.outcome": "ok",
					"sallyport.route.owner": testenv.ID("team-a/node"), "sallyport.scraper.id": testenv.ID("prometheus"),
				},
				&decision: {"sallyport.decision.allow": "true"},
				&ours:     {"http.request.method": "GET", "http.response.status_code": "200", "sallyport.outcome": "ok", "sallyport.route": "/team-a/node/x", "server.address": "127.0.0.1"},
			} {
				for key, value := range want {
					if got := span.attribute(key); got != value {
						t.Errorf("%s: %s is %q, want %q", span.GetName(), key, got, value)
					}
				}
			}
			if fmt.Sprint(scrape.service, decision.service, ours.service) != fmt.Sprint("sallyport-proxy", "sallyport-proxy", "inside") {
				t.Errorf("services %s, %s, %s", scrape.service, decision.service, ours.service)
			}
			if got := fmt.Sprint(scrape.GetKind(), ours.GetKind()); got != "SPAN_KIND_SERVER SPAN_KIND_CLIENT" {
				t.Errorf("kinds %s", got)
			}
			if target.Last().Header.Get("traceparent") != "" {
				t.Error("the target was told of the trace")
			}
			if exemplar := openMetrics(t, proxy); !strings.Contains(exemplar, `# {trace_id="`+traceID+`"}`) {
				t.Errorf("no exemplar in\n%s", exemplar)
			}
		})
	}
}

// openMetrics is the proxy's histogram of scrapes in a format that has exemplars.
func openMetrics(t *testing.T, daemon *testenv.Process) string {
	t.Helper()
	request, _ := http.NewRequest(http.MethodGet, "http://"+daemon.Await(`"admin":"([^"]+)"`)+"/metrics", nil)
	request.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "sallyport_proxy_scrape_duration_seconds_bucket") {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

// Nothing is sent to a collector that merely is there.
func TestTracingIsOff(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	s := newSite(t)
	off := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.http, "OTEL_BSP_SCHEDULE_DELAY=20"}
	proxy := s.startProxy(append(s.files("proxy", proxyLeaf), off...)...)
	proxy.Await("no traces are sent: OTEL_TRACES_EXPORTER is not otlp")
	s.startAgent(append(append(s.files("agent", agentLeaf), append(off, "OTEL_TRACES_EXPORTER=otlp")...),
		"SALLYPORT_TARGETS=/team-a/node/x="+testenv.Metrics(t).URL)...)
	request, _ := http.NewRequest(http.MethodGet, "https://"+s.scrape+"/team-a/node/x", nil)
	request.Header.Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	response, err := s.client().Do(request)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	response.Body.Close()
	if lines := openMetrics(t, proxy); strings.Contains(lines, "trace_id") || lines == "" {
		t.Errorf("exemplars in\n%s", lines)
	}
	// What was left would be sent at the end.
	proxy.Signal(syscall.SIGTERM)
	if status, err := proxy.Exit(); status != 0 || err != nil {
		t.Error(status, err)
	}
	if spans, err := c.all(); len(spans) > 0 || err != nil {
		t.Errorf("sent: %v, %v", spans, err)
	}
}
