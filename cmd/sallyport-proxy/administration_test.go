package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/cmd/internal/config"
	"github.com/seed-951114d4/sallyport/cmd/internal/handshakes"
	"github.com/seed-951114d4/sallyport/pki"
)

// From another machine the admin listener speaks TLS, asks the policy about each request
// but health, and has each no written down.
func TestAdministrationFromElsewhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := pki.Init(dir, pki.InitOptions{TrustDomain: "example.org"}); err != nil {
		t.Fatal(err)
	}
	for name, request := range map[string]pki.Request{
		"proxy":      {Role: pki.Proxy, SPIFFEID: "spiffe://example.org/proxy", DNSNames: []string{"localhost"}},
		"prometheus": {Role: pki.Scraper, SPIFFEID: "spiffe://example.org/prometheus"},
		"admin":      {Role: pki.Scraper, SPIFFEID: "spiffe://example.org/admin/anna"},
		"team-a":     {Role: pki.Agent, SPIFFEID: "spiffe://example.org/team-a"},
	} {
		if _, err := pki.Issue(dir, pki.IssueOptions{Request: request, Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	var s settings
	faults := config.Load([]string{
		"SALLYPORT_TLS_CERT_FILE=" + dir + "/proxy.pem", "SALLYPORT_TLS_KEY_FILE=" + dir + "/proxy-key.pem",
		"SALLYPORT_TLS_CA_FILE=" + dir + "/ca.pem", "SALLYPORT_ADMIN_ADDR=192.0.2.1:8092", "SALLYPORT_AUDIT_LOG=off",
	}, &s)
	job := s.prepare(t.Context(), slog.New(slog.DiscardHandler), faults)
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	service := job.(*service)
	// As if it were that address, which this machine does not have.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- service.administer(ctx, listener, handshakes.New(service.registry, service.log)) }()

	anchors, err := os.ReadFile(dir + "/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	get := func(name, path string) (int, string) {
		t.Helper()
		config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
		config.RootCAs.AppendCertsFromPEM(anchors)
		if name != "" {
			pair, err := tls.LoadX509KeyPair(dir+"/"+name+".pem", dir+"/"+name+"-key.pem")
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		response, err := (&http.Client{Transport: transport}).Get("https://" + listener.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	for _, c := range []struct {
		name, path string
		status     int
		body       string
	}{
		{"", "/-/healthy", 200, "healthy\n"},
		{"", "/-/ready", 503, "not ready\n"}, // it does not run
		{"", "/", 401, "a client certificate is needed\n"},
		{"", "/metrics", 401, "a client certificate is needed\n"},
		{"prometheus", "/metrics", 200, "sallyport_build_info"},
		{"prometheus", "/metrics", 200, "sallyport_proxy_handshakes_total{listener=\"admin\"} 6\n"},
		{"prometheus", "/api/v1/routes", 403, "the policy does not allow this (decision "},
		{"team-a", "/metrics", 403, "the policy does not allow this (decision "},
		{"admin", "/api/v1/routes", 200, `{"data":[]}`},
		{"admin", "/api/v1/refusals", 200, `"action":"admin","effect":"denied","identity":"spiffe://example.org/team-a","route":"/metrics"`},
	} {
		if status, body := get(c.name, c.path); status != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%q asks for %s: %d %s", c.name, c.path, status, body)
		}
	}
	if response, err := http.Get("http://" + listener.Addr().String() + "/-/healthy"); err == nil {
		response.Body.Close()
		t.Errorf("plain HTTP is answered with %s", response.Status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
