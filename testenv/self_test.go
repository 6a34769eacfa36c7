package testenv_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/testenv"
)

// selfOnly lets agents register their own metrics and nothing else.
var selfOnly = fstest.MapFS{
	"register.rego": &fstest.MapFile{Data: []byte(`package sallyport.register

default allow := false

allow if {
	input.route.target == {"scheme": "self", "host": "", "port": 0, "path": ""}
	input.route.segments == array.concat(input.agent.segments, ["self"])
}
`)},
	"scrape.rego": &fstest.MapFile{Data: []byte("package sallyport.scrape\n\nallow := true\n")},
}

// An agent's own metrics go through its own tunnel, in the format that is asked for,
// under a policy that allows nothing else.
func TestSelfIsATarget(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: selfOnly})
	a := w.StartAgent("team-a/node", testenv.AgentConfig{},
		testenv.Route("/team-a/node/self", "self"), testenv.Route("/team-a/node/app", testenv.Metrics(t).URL))
	testenv.WaitMetric(w, a, 1, "sallyport_agent_routes", "state", "accepted")
	testenv.WaitMetric(w, a, 1, "sallyport_agent_routes", "state", "refused")
	scraper := w.Scraper("prometheus")
	const open, proto = "application/openmetrics-text;version=1.0.0", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	for _, c := range []struct{ accept, contentType, has string }{
		{"text/plain", "text/plain", "\nsallyport_agent_targets 2\n"},
		{open, "application/openmetrics-text", "\n# EOF\n"},
		{proto, "application/vnd.google.protobuf", "sallyport_agent_targets"},
	} {
		answer := scraper.Get("/team-a/node/self", "Accept", c.accept)
		if answer.Status != 200 || !strings.HasPrefix(answer.Header.Get("Content-Type"), c.contentType) || !bytes.Contains(answer.Body, []byte(c.has)) {
			t.Errorf("%s: %d %v %v\n%s", c.accept, answer.Status, answer.Header, answer.Err, answer.Body)
		}
	}
	answer := scraper.Get("/team-a/node/self", "Accept-Encoding", "gzip")
	z, err := gzip.NewReader(bytes.NewReader(answer.Body))
	if err != nil || answer.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v, %v", answer.Header, err)
	}
	if plain, err := io.ReadAll(z); err != nil || !bytes.Contains(plain, []byte("sallyport_agent_scrapes_in_flight 1\n")) {
		t.Errorf("%v in\n%s", err, plain)
	}
	if app := scraper.Get("/team-a/node/app"); app.Status != 404 {
		t.Errorf("what is not the agent itself: %d", app.Status)
	}
}

// stuck is a collector that hangs.
type stuck struct{ release chan struct{} }

func (s stuck) Describe(descs chan<- *prometheus.Desc) {
	descs <- prometheus.NewDesc("x", "x", nil, nil)
}
func (s stuck) Collect(chan<- prometheus.Metric) { <-s.release }

// The agent's own metrics have a deadline and a limit as any target has.
func TestSelfHasLimits(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: selfOnly})
	a := w.Agent("team-a/node", testenv.Route("/team-a/node/self", "self"))
	scraper := w.Scraper("prometheus")
	if answer := scraper.Get("/team-a/node/self?name[]=x"); answer.Outcome != "bad_request" {
		t.Errorf("a query: %d %s", answer.Status, answer.Outcome)
	}
	hanging := stuck{make(chan struct{})}
	a.Registry.MustRegister(hanging)
	defer close(hanging.release)
	if answer := scraper.Get("/team-a/node/self", "X-Prometheus-Scrape-Timeout-Seconds", "0.3"); answer.Outcome != "target_timeout" {
		t.Errorf("a collector that hangs: %d %s", answer.Status, answer.Outcome)
	}
}
