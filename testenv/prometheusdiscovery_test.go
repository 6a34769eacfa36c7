package testenv_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
)

// freeAddr is a loopback address that a daemon can have again after a restart.
func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// discoveryJob is a job that asks the proxy for its targets, over mutual TLS.
func (s *site) discoveryJob(name string) string {
	cert, key := s.issue(name+"-prometheus", pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")})
	_, port, _ := strings.Cut(s.scrape, ":")
	return fmt.Sprintf(`- job_name: %s
  tls_config: &tls {ca_file: %s, cert_file: %s, key_file: %s}
  http_sd_configs:
  - {url: "https://localhost:%s/-/discovery", refresh_interval: 1s, tls_config: *tls}
  relabel_configs:
  - {source_labels: [__meta_sallyport_agent_id], target_label: agent}
`, name, s.anchors(), cert, key, port)
}

// alertsOn is a file of rules with one that tells of targets that are down.
func alertsOn(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "rules.yml")
	writeExample(t, name, `groups:
- name: targets
  interval: 1s
  rules:
  - {alert: TargetDown, expr: up == 0, for: 0s}
`)
	return name
}

// firing are the instances of which an alert tells.
func (p *prometheusServer) firing() ([]string, error) {
	var data struct {
		Alerts []struct {
			State  string            `json:"state"`
			Labels map[string]string `json:"labels"`
		} `json:"alerts"`
	}
	err := p.get("/api/v1/alerts", nil, &data)
	var instances []string
	for _, alert := range data.Alerts {
		if alert.State == "firing" {
			instances = append(instances, alert.Labels["instance"])
		}
	}
	slices.Sort(instances)
	return instances, err
}

// sample is what a daemon's own metrics say.
func sample(admin, series string) (int, error) {
	response, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(regexp.QuoteMeta(series) + ` (\d+)`).FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("there is no %s", series)
	}
	return strconv.Atoi(string(found[1]))
}

// A real Prometheus finds its targets at the proxy, keeps them while the proxy is
// restarted, and fires when an agent dies, for that agent's target alone.
func TestPrometheusDiscovers(t *testing.T) {
	t.Parallel()
	testenv.Program(t, "prometheus")
	s := newSite(t)
	tunnel, scrape := freeAddr(t), freeAddr(t)
	_, port, _ := strings.Cut(scrape, ":")
	env := append(s.files("proxy", proxyLeaf), "SALLYPORT_TUNNEL_ADDR="+tunnel, "SALLYPORT_SCRAPE_ADDR="+scrape,
		"SALLYPORT_SCRAPE_URL=https://localhost:"+port, "SALLYPORT_AUDIT_LOG=off")
	proxy := s.startProxy(append(env, "SALLYPORT_DISCOVERY_WARMUP=0s")...)
	targets := filepath.Join(t.TempDir(), "targets.yaml")
	writeExample(t, targets, fmt.Sprintf("targets: [{path: /team-a/node/app, url: %q, labels: {zone: eu-1}}]\n", testenv.Metrics(t).URL))
	s.startAgent(append(s.files("a", agentLeaf), "SALLYPORT_TARGETS_FILE="+targets)...)
	dying := s.startAgent(append(s.files("b", pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-b")}),
		"SALLYPORT_TARGETS=/team-b/queue="+testenv.Metrics(t).URL)...)

	const of = `{instance="team-a/node/app",job="sallyport",zone="eu-1",agent="spiffe://example.org/team-a/node"}`
	prom := s.startPrometheus(s.discoveryJob("sallyport") + "rule_files: [" + alertsOn(t) + "]\n")
	prom.await("sum(up)", "2")
	prom.await("up"+of, "1")
	prom.await("count(testenv_series"+of+") > bool 0", "1")

	proxy.Signal(syscall.SIGTERM)
	if status, err := proxy.Exit(); status != 0 || err != nil {
		t.Fatalf("the proxy ended with %d, %v", status, err)
	}
	testenv.Eventually(t, func() error {
		if firing, err := prom.firing(); err != nil || len(firing) != 2 {
			return fmt.Errorf("%v are down, %w", firing, err)
		}
		return nil
	})
	proxy = s.startProxy(append(env, "SALLYPORT_DISCOVERY_WARMUP=1h")...)
	admin := proxy.Await(`"admin":"([^"]+)"`)
	testenv.Eventually(t, func() error {
		if n, err := sample(admin, `sallyport_proxy_discoveries_total{outcome="warming_up"}`); err != nil || n < 3 {
			return fmt.Errorf("Prometheus has asked %d times, %w", n, err)
		}
		return nil
	})
	prom.await("sum(up)", "2")
	prom.await("up"+of, "1")

	dying.Signal(os.Kill)
	testenv.Eventually(t, func() error {
		if firing, err := prom.firing(); err != nil || !slices.Equal(firing, []string{"team-b/queue"}) {
			return fmt.Errorf("%v are down, %w", firing, err)
		}
		return nil
	})
	prom.await("up"+of, "1")
}

// discovered are the labels of the only target of a Prometheus before relabelling.
func (p *prometheusServer) discovered() (map[string]string, error) {
	var data struct {
		Active []struct {
			Discovered map[string]string `json:"discoveredLabels"`
		} `json:"activeTargets"`
	}
	if err := p.get("/api/v1/targets", nil, &data); err != nil {
		return nil, err
	}
	if len(data.Active) != 1 {
		return nil, fmt.Errorf("there are %d targets", len(data.Active))
	}
	return data.Active[0].Discovered, nil
}

// The target of an agent that dies stays one, and says so.
func TestPrometheusKeepsTargetOfDeadAgent(t *testing.T) {
	t.Parallel()
	testenv.Program(t, "prometheus")
	s := newSite(t)
	scrape := freeAddr(t)
	_, port, _ := strings.Cut(scrape, ":")
	s.startProxy(append(s.files("proxy", proxyLeaf), "SALLYPORT_SCRAPE_ADDR="+scrape,
		"SALLYPORT_SCRAPE_URL=https://localhost:"+port, "SALLYPORT_DISCOVERY_WARMUP=0s")...)
	agent := s.startAgent(append(s.files("agent", agentLeaf), "SALLYPORT_TARGETS=/team-a/node/app="+testenv.Metrics(t).URL)...)
	prom := s.startPrometheus(s.discoveryJob("sallyport"))
	prom.await("up", "1")
	agent.Signal(os.Kill)
	prom.await("up", "0")
	testenv.Eventually(t, func() error {
		labels, err := prom.discovered()
		if err == nil && labels["__meta_sallyport_up"] != "0" {
			err = fmt.Errorf("discovered with %v", labels)
		}
		return err
	})
	prom.await(`up{instance="team-a/node/app"}`, "0")
}
