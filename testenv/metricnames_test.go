package testenv_test

import (
	"bytes"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/seed-951114d4/sallyport/testenv"
)

// daemonMetrics are what a proxy and an agent that are connected, and have scraped,
// expose.
func daemonMetrics(t *testing.T) map[string][]byte {
	t.Helper()
	s := newSite(t)
	proxy := s.startProxy(s.files("proxy", proxyLeaf)...)
	agent := testenv.Execute(t, append(s.files("agent", agentLeaf), "SALLYPORT_PROXY_ADDRS="+s.tunnel,
		"SALLYPORT_PROXY_ID="+testenv.ID("proxy"), "SALLYPORT_ADMIN_ADDR=127.0.0.1:0",
		"SALLYPORT_TARGETS=/team-a/node/x="+testenv.Metrics(t).URL), testenv.Build(t, "sallyport-agent"))
	agent.Await(`"routes registered"`)
	answer, err := s.client().Get("https://" + s.scrape + "/team-a/node/x")
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer, err)
	}
	answer.Body.Close()
	expositions := make(map[string][]byte)
	for name, process := range map[string]*testenv.Process{"proxy": proxy, "agent": agent} {
		response, err := http.Get("http://" + process.Await(`"admin":"([^"]+)"`) + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		expositions[name] = body
	}
	return expositions
}

// Metrics keep Prometheus's own rules: base units, _total, a help text, no unit cut
// short, no label that Prometheus makes itself.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	reserved := []string{"job", "instance", "le", "quantile", "scrape_url", "__name__"}
	for daemon, exposition := range daemonMetrics(t) {
		problems, err := promlint.New(bytes.NewReader(exposition)).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range problems {
			t.Errorf("%s: %s: %s", daemon, problem.Metric, problem.Text)
		}
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(bytes.NewReader(exposition))
		if err != nil {
			t.Fatal(err)
		}
		for name, family := range families {
			if !strings.HasPrefix(name, "sallyport_") {
				continue
			}
			if help := family.GetHelp(); !strings.HasSuffix(help, ".") {
				t.Errorf("%s: its help %q is no sentence", name, help)
			}
			if family.GetType() == dto.MetricType_HISTOGRAM && !strings.HasSuffix(name, "_seconds") && !strings.HasSuffix(name, "_bytes") {
				t.Errorf("%s: a histogram whose unit is not in its name", name)
			}
			for _, metric := range family.GetMetric() {
				for _, pair := range metric.GetLabel() {
					if slices.Contains(reserved, pair.GetName()) {
						t.Errorf("%s has the label %s", name, pair.GetName())
					}
				}
			}
		}
	}
}

// The same by Prometheus's own tool.
func TestMetricsPassPromtool(t *testing.T) {
	t.Parallel()
	promtool := testenv.Program(t, "promtool")
	for daemon, exposition := range daemonMetrics(t) {
		cmd := exec.Command(promtool, "check", "metrics")
		cmd.Stdin = bytes.NewReader(exposition)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", daemon, err, out)
		}
	}
}
