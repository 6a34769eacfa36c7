package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
)

// liveProxy is the whole daemon in this process.
type liveProxy struct {
	t                     *testing.T
	dir                   string
	admin, scrape, tunnel string
	client                *http.Client
}

// startLive runs a proxy with the policy in the folder policy, and stops it, which
// must go well, when the function that it returns is called.
func startLive(t *testing.T) (*liveProxy, func()) {
	t.Helper()
	p := newLive(t, 0)
	p.write("policy/register.rego", "package sallyport.register\n\nallow := false\n")
	p.write("policy/scrape.rego", "package sallyport.scrape\n\nallow := false\n\nreasons contains \"one\"\n")
	return p, p.start("SALLYPORT_POLICY=" + p.file("policy"))
}

// newLive has certificates, that of the proxy for so long; 0: for as long as usual.
func newLive(t *testing.T, lifetime time.Duration) *liveProxy {
	t.Helper()
	p := &liveProxy{t: t, dir: t.TempDir()}
	if _, err := pki.Init(p.file("certs"), pki.InitOptions{TrustDomain: "example.org"}); err != nil {
		t.Fatal(err)
	}
	for _, options := range []pki.IssueOptions{
		{Name: "proxy", Lifetime: lifetime, Request: pki.Request{Role: pki.Proxy, SPIFFEID: "spiffe://example.org/proxy", DNSNames: []string{"localhost"}}},
		{Name: "prometheus", Request: pki.Request{Role: pki.Scraper, SPIFFEID: "spiffe://example.org/prometheus"}},
		{Name: "agent", Request: pki.Request{Role: pki.Agent, SPIFFEID: "spiffe://example.org/team-a/node"}},
	} {
		if _, err := pki.Issue(p.file("certs"), options); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// start runs the daemon in this environment, until the function is called.
func (p *liveProxy) start(more ...string) (stop func()) {
	t := p.t
	t.Helper()
	environ := append([]string{
		"SALLYPORT_TUNNEL_ADDR=127.0.0.1:0", "SALLYPORT_SCRAPE_ADDR=127.0.0.1:0", "SALLYPORT_ADMIN_ADDR=127.0.0.1:0",
		"SALLYPORT_TLS_CERT_FILE=" + p.file("certs/proxy.pem"), "SALLYPORT_TLS_KEY_FILE=" + p.file("certs/proxy-key.pem"),
		"SALLYPORT_TLS_CA_FILE=" + p.file("certs/ca.pem"),
		"SALLYPORT_AUDIT_LOG=" + p.file("audit.log"), "SALLYPORT_LOG_FORMAT=json",
	}, more...)
	var log testenv.Logs
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- run(ctx, nil, environ, io.Discard, &log) }()
	until(t, "the listeners", func() bool {
		for line := range strings.Lines(log.String()) {
			var entry struct{ Msg, Admin, Scrape, Tunnel string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" {
				p.admin, p.scrape, p.tunnel = entry.Admin, entry.Scrape, entry.Tunnel
				return true
			}
		}
		return false
	})
	p.dial()
	return func() {
		t.Helper()
		p.client.CloseIdleConnections()
		cancel()
		if status := <-done; status != 0 {
			t.Errorf("exit status %d:\n%s", status, log.String())
		}
	}
}

// dial makes a client that proves to be Prometheus.
func (p *liveProxy) dial() {
	p.t.Helper()
	pair, err := tls.LoadX509KeyPair(p.file("certs/prometheus.pem"), p.file("certs/prometheus-key.pem"))
	if err != nil {
		p.t.Fatal(err)
	}
	anchors, err := os.ReadFile(p.file("certs/ca.pem"))
	if err != nil {
		p.t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{pair}, ServerName: "localhost"}
	config.RootCAs.AppendCertsFromPEM(anchors)
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
}

func (p *liveProxy) file(name string) string { return filepath.Join(p.dir, name) }

func (p *liveProxy) write(name, text string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(p.file(name)), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.file(name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *liveProxy) get(url string) (int, string) {
	p.t.Helper()
	response, err := p.client.Get(url)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// policyStatus is what /api/v1/policy tells.
type policyStatus struct {
	Name, Kind, Revision string
	Failure              *struct{ Error string }
}

func (p *liveProxy) policy() policyStatus {
	p.t.Helper()
	_, body := p.get("http://" + p.admin + "/api/v1/policy")
	var answer struct{ Data []policyStatus }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Data) != 1 {
		p.t.Fatalf("%v in %s", err, body)
	}
	return answer.Data[0]
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testenv.Eventually(t, func() error {
		if !ok() {
			return fmt.Errorf("waiting for %s", what)
		}
		return nil
	})
}

// TestPolicyAndAuditOfADaemon: a proxy takes up a changed policy and keeps it when
// the next one is broken, tells so, and writes down what it denied by which.
func TestPolicyAndAuditOfADaemon(t *testing.T) {
	t.Parallel()
	p, stop := startLive(t)
	first := p.policy()
	if first.Kind != "folder" || first.Name != p.file("policy") || first.Revision == "" || first.Failure != nil {
		t.Errorf("at first: %+v", first)
	}
	for _, list := range []string{"routes", "sessions"} {
		if status, body := p.get("http://" + p.admin + "/api/v1/" + list); status != 200 || body != `{"data":[]}`+"\n" {
			t.Errorf("%s: %d %s", list, status, body)
		}
	}
	scrape := func() {
		t.Helper()
		if status, body := p.get("https://" + p.scrape + "/team-a/x"); status != 404 || body != "not found\n" {
			t.Errorf("a denied scrape: %d %q", status, body)
		}
	}
	scrape()

	p.write("policy/scrape.rego", "package sallyport.scrape\n\nallow := false\n\nreasons contains \"two\"\n")
	until(t, "the new policy", func() bool { return p.policy().Revision != first.Revision })
	second := p.policy()
	scrape()
	scrape()

	p.write("policy/scrape.rego", "package sallyport.scrape\n\nallow if input.nonsense\n")
	until(t, "the failure", func() bool { return p.policy().Failure != nil })
	if now := p.policy(); now.Revision != second.Revision || !strings.Contains(now.Failure.Error, "scrape.rego:3") {
		t.Errorf("with a broken policy: %+v", now)
	}
	if _, metrics := p.get("http://" + p.admin + "/metrics"); !strings.Contains(metrics, "\nsallyport_proxy_policy_reload_failures_total 1\n") {
		t.Error("the failure is not in the metrics")
	}
	scrape()
	stop()

	audit, err := os.ReadFile(p.file("audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(audit)) {
		var entry struct {
			Action, Effect, Identity, Route, Revision string
			Reasons                                   []string
			Count                                     int
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		got = append(got, fmt.Sprint(entry))
	}
	want := []string{
		fmt.Sprint("{scrape denied spiffe://example.org/prometheus /team-a/x ", first.Revision, " [one] 0}"),
		fmt.Sprint("{scrape denied spiffe://example.org/prometheus /team-a/x ", second.Revision, " [two] 0}"),
		fmt.Sprint("{scrape denied spiffe://example.org/prometheus /team-a/x ", second.Revision, " [two] 2}"),
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the audit log holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
