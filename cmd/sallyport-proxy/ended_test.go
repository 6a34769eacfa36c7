package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
)

// serve has an agent of team-a serve its own metrics until the test ends.
func (p *liveProxy) serve(path string) {
	p.t.Helper()
	log := slog.New(slog.DiscardHandler)
	source, err := authn.NewSource(authn.Config{
		CertFile: p.file("certs/agent.pem"), KeyFile: p.file("certs/agent-key.pem"), CAFile: p.file("certs/ca.pem"),
	}, authn.Client, log)
	if err != nil {
		p.t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	a, err := agent.New(agent.Config{
		ProxyAddrs: []string{p.tunnel}, Name: "node", Targets: agent.Targets{{Path: path, URL: "self"}}, MaxConcurrentScrapes: 4, MaxResponseBytes: 1 << 20,
	}, agent.Parts{Identity: source, ProxyID: spiffeid.RequireFromString("spiffe://example.org/proxy"), Log: log, Metrics: metrics, Self: metrics})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- source.Run(ctx) }()
	go func() { done <- a.Run(ctx) }()
	p.t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				p.t.Error(err)
			}
		}
	})
	until(p.t, "the agent", func() bool { return a.Ready() == nil })
}

// TestOwnCertificateEnds: a proxy whose own certificate has ended, which nobody renewed,
// is still who it was to those whose connections are open. Agents leave it, and what they
// served is gone, but is neither denied nor vanishes from discovery. The pages say what
// renews the certificate.
func TestOwnCertificateEnds(t *testing.T) {
	t.Parallel()
	const path, lifetime = "/team-a/node/self", 6 * time.Second
	p := newLive(t, lifetime)
	issued := time.Now()
	stop := p.start("SALLYPORT_DISCOVERY_WARMUP=0s")
	defer stop()
	p.serve(path)
	ask := func(path string) (status int, body string, again bool) {
		t.Helper()
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { again = info.Reused }})
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.scrape+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := p.client.Do(request)
		if err != nil {
			return 0, err.Error(), again
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text), again
	}
	if status, body, _ := ask(path); status != 200 {
		t.Fatalf("at first: %d %s", status, body)
	}
	before, after := "<strong>The certificate of the tunnel side", "renew the files of SALLYPORT_TLS_CERT_FILE"
	if _, page := p.get("http://" + p.admin + "/"); !strings.Contains(page, before+" is not renewed yet.") || !strings.Contains(page, after) {
		t.Errorf("it ends soon, and the page does not say so: %s", page)
	}
	until(t, "the certificate's end", func() bool { return time.Since(issued) > lifetime+time.Second })
	until(t, "the agent to leave", func() bool {
		status, _, again := ask(path)
		if !again {
			t.Fatal("the connection was not used again")
		}
		return status != 200
	})
	if status, body, again := ask(path); status != 503 || !strings.Contains(body, "not connected") || !again {
		t.Errorf("a scrape: %d %q, on the same connection: %v", status, body, again)
	}
	if status, body, again := ask("/-/discovery"); status != 200 || !strings.Contains(body, fmt.Sprintf("%q", path)) || !again {
		t.Errorf("discovery: %d %q, on the same connection: %v", status, body, again)
	}
	if _, page := p.get("http://" + p.admin + "/"); !strings.Contains(page, before+" has ended.") || !strings.Contains(page, after) {
		t.Errorf("the page: %s", page)
	}
}
