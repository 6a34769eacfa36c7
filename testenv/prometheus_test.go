package testenv_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
	"github.com/seed-951114d4/sallyport/testenv/workload"
)

// site is a CA's folder with the programs as a user runs them: environment
// variables in, nothing else.
type site struct {
	t      *testing.T
	ca     string
	scrape string // host:port
	tunnel string
}

func newSite(t *testing.T) *site {
	s := &site{t: t, ca: t.TempDir()}
	if _, err := pki.Init(s.ca, pki.InitOptions{TrustDomain: testenv.TrustDomain}); err != nil {
		t.Fatal(err)
	}
	return s
}

// issue writes a certificate and returns its two files.
func (s *site) issue(name string, req pki.Request) (cert, key string) {
	s.t.Helper()
	files, err := pki.Issue(s.ca, pki.IssueOptions{Request: req, Name: name})
	if err != nil {
		s.t.Fatal(err)
	}
	return files.Cert, files.Key
}

func (s *site) anchors() string { return filepath.Join(s.ca, "ca.pem") }

// files is the environment of a daemon with certificates from files.
func (s *site) files(name string, req pki.Request) []string {
	cert, key := s.issue(name, req)
	return []string{"SALLYPORT_TLS_CERT_FILE=" + cert, "SALLYPORT_TLS_KEY_FILE=" + key, "SALLYPORT_TLS_CA_FILE=" + s.anchors()}
}

// workloadAPI is the environment of a daemon that has its certificate from a
// Workload API of its own.
func (s *site) workloadAPI(req pki.Request, keys ...*workload.JWTAuthority) []string {
	s.t.Helper()
	ca, err := pki.Load(s.ca)
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := ca.Issue(req)
	if err != nil {
		s.t.Fatal(err)
	}
	api := workload.Start(s.t)
	state := workload.State{
		SVIDs:   []tls.Certificate{leaf.TLS()},
		Bundles: map[string][]*x509.Certificate{testenv.TrustDomain: {ca.Certificate()}},
		JWT:     keys,
	}
	if err := api.Set(state); err != nil {
		s.t.Fatal(err)
	}
	return []string{"SPIFFE_ENDPOINT_SOCKET=" + api.Address()}
}

func (s *site) startProxy(env ...string) *testenv.Process {
	p := testenv.Execute(s.t, append([]string{
		"SALLYPORT_TUNNEL_ADDR=127.0.0.1:0", "SALLYPORT_SCRAPE_ADDR=127.0.0.1:0", "SALLYPORT_ADMIN_ADDR=127.0.0.1:0",
	}, env...), testenv.Build(s.t, "sallyport-proxy"))
	s.tunnel, s.scrape = p.Await(`"tunnel":"([^"]+)"`), p.Await(`"scrape":"([^"]+)"`)
	return p
}

func (s *site) startAgent(env ...string) *testenv.Process {
	p := testenv.Execute(s.t, append(env,
		"SALLYPORT_PROXY_ADDRS="+s.tunnel, "SALLYPORT_PROXY_ID="+testenv.ID("proxy"), "SALLYPORT_ADMIN_ADDR=off",
	), testenv.Build(s.t, "sallyport-agent"))
	p.Await(`"routes registered"`)
	return p
}

var (
	proxyLeaf = pki.Request{Role: pki.Proxy, SPIFFEID: testenv.ID("proxy"), DNSNames: []string{"localhost"}}
	agentLeaf = pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a/node")}
)

// prometheusServer is a real Prometheus.
type prometheusServer struct {
	t    *testing.T
	addr string
}

// startPrometheus starts one with these scrape jobs, indented by none.
func (s *site) startPrometheus(jobs string, flags ...string) *prometheusServer {
	s.t.Helper()
	program := testenv.Program(s.t, "prometheus")
	dir := s.t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := "global:\n  scrape_interval: 1s\nscrape_configs:\n" + jobs
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	p := testenv.Execute(s.t, nil, program, append(flags, "--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")...)
	return &prometheusServer{t: s.t, addr: p.Await(`msg="Listening on" address=(\S+)`)}
}

// tunnelJob is a job that scrapes routes through the proxy over mutual TLS.
func (s *site) tunnelJob(name string, paths ...string) string {
	cert, key := s.issue(name+"-prometheus", pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")})
	_, port, _ := strings.Cut(s.scrape, ":")
	var b strings.Builder
	for i, path := range paths {
		fmt.Fprintf(&b, `- job_name: %s%s
  scheme: https
  metrics_path: %s
  tls_config: {ca_file: %s, cert_file: %s, key_file: %s}
  static_configs: [{targets: ["localhost:%s"]}]
`, name, strings.Repeat("x", i), path, s.anchors(), cert, key, port)
	}
	return b.String()
}

func (p *prometheusServer) get(path string, query url.Values, into any) error {
	response, err := http.Get("http://" + p.addr + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// value is the one sample that an expression has.
func (p *prometheusServer) value(expression string) (string, error) {
	var data struct {
		Result []struct {
			Value [2]any `json:"value"`
		} `json:"result"`
	}
	if err := p.get("/api/v1/query", url.Values{"query": {expression}}, &data); err != nil {
		return "", err
	}
	if len(data.Result) != 1 {
		return "", fmt.Errorf("%s has %d samples", expression, len(data.Result))
	}
	return fmt.Sprint(data.Result[0].Value[1]), nil
}

// await waits until an expression has a value.
func (p *prometheusServer) await(expression, want string) {
	p.t.Helper()
	testenv.Eventually(p.t, func() error {
		have, err := p.value(expression)
		if err == nil && have != want {
			err = fmt.Errorf("%s is %s, want %s", expression, have, want)
		}
		return err
	})
}

// series are those of a job, without what says where they were scraped.
func (p *prometheusServer) series(job string) ([]string, error) {
	var data []map[string]string
	if err := p.get("/api/v1/series", url.Values{"match[]": {fmt.Sprintf("{job=%q}", job)}}, &data); err != nil {
		return nil, err
	}
	var series []string
	for _, labels := range data {
		delete(labels, "job")
		delete(labels, "instance")
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(labels)) {
			fmt.Fprintf(&b, "%s=%q ", name, labels[name])
		}
		series = append(series, b.String())
	}
	slices.Sort(series)
	return series, nil
}

// A real Prometheus that scrapes a real node_exporter through the real programs
// stores what it stores when it scrapes the exporter itself, by name and label.
func TestPrometheusScrapesNodeExporter(t *testing.T) {
	t.Parallel()
	exporter := testenv.Program(t, "prometheus-node-exporter", "node_exporter")
	testenv.Program(t, "prometheus")
	for _, mode := range []string{"files", "Workload API"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			node := testenv.Execute(t, nil, exporter, "--web.listen-address=127.0.0.1:0").Await(`msg="Listening on" address=(\S+)`)
			s := newSite(t)
			if mode == "files" {
				s.startProxy(s.files("proxy", proxyLeaf)...)
				s.startAgent(append(s.files("agent", agentLeaf), "SALLYPORT_TARGETS=/team-a/node/exporter=http://"+node+"/metrics")...)
			} else {
				// The tunnel's identities come from Workload APIs; Prometheus knows
				// files only, and trusts the same authority.
				s.startProxy(s.workloadAPI(proxyLeaf)...)
				s.startAgent(append(s.workloadAPI(agentLeaf), "SALLYPORT_TARGETS=/team-a/node/exporter=http://"+node+"/metrics")...)
			}
			direct := fmt.Sprintf("- job_name: direct\n  static_configs: [{targets: [%q]}]\n", node)
			prom := s.startPrometheus(direct + s.tunnelJob("tunnel", "/team-a/node/exporter"))
			prom.await(`up{job="direct"}`, "1")
			prom.await(`up{job="tunnel"}`, "1")
			testenv.Eventually(t, func() error {
				want, err := prom.series("direct")
				if err != nil {
					return err
				}
				have, err := prom.series("tunnel")
				if err != nil {
					return err
				}
				if len(want) < 200 || !slices.Equal(have, want) {
					return fmt.Errorf("%d series through the tunnel, %d directly", len(have), len(want))
				}
				return nil
			})
		})
	}
}

// accepted records which formats a target answered in.
type accepted struct {
	mu    sync.Mutex
	types map[string]bool
}

func (a *accepted) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		a.mu.Lock()
		defer a.mu.Unlock()
		kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
		a.types[kind] = true
	})
}

func (a *accepted) has(kind string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.types[kind] {
		return fmt.Errorf("not answered in %s yet: %v", kind, a.types)
	}
	return nil
}

// The scraper and the target agree on a format as if nothing stood between: the
// text format, OpenMetrics, and protobuf with native histograms.
func TestPrometheusNegotiatesEveryFormat(t *testing.T) {
	t.Parallel()
	testenv.Program(t, "prometheus")
	registry := prometheus.NewRegistry()
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "testenv_native_seconds", Help: "Native.", NativeHistogramBucketFactor: 1.1})
	registry.MustRegister(histogram)
	for i := range 42 {
		histogram.Observe(float64(i))
	}
	rich := &accepted{types: make(map[string]bool)}
	exporter := httptest.NewServer(rich.wrap(promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})))
	t.Cleanup(exporter.Close)
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", testenv.Text)
		_, _ = io.WriteString(w, "testenv_plain 7\n")
	}))
	t.Cleanup(plain.Close)

	s := newSite(t)
	s.startProxy(s.files("proxy", proxyLeaf)...)
	s.startAgent(append(s.files("agent", agentLeaf),
		"SALLYPORT_TARGETS=/team-a/node/rich="+exporter.URL+"/metrics,/team-a/node/plain="+plain.URL+"/metrics")...)

	classic := s.startPrometheus(s.tunnelJob("classic", "/team-a/node/rich", "/team-a/node/plain"))
	classic.await(`testenv_plain`, "7")
	classic.await(`testenv_native_seconds_count{job="classic"}`, "42")
	testenv.Eventually(t, func() error { return rich.has("application/openmetrics-text") })

	native := s.startPrometheus(s.tunnelJob("native", "/team-a/node/rich"), "--enable-feature=native-histograms")
	native.await(`histogram_count(testenv_native_seconds{job="native"})`, "42")
	testenv.Eventually(t, func() error { return rich.has("application/vnd.google.protobuf") })
}
