package testenv_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
	"github.com/seed-951114d4/sallyport/testenv"
)

// stranger is a client certificate that must not pass.
type stranger struct {
	name string
	leaf *pki.Leaf // nil: none is shown
}

func strangers(t *testing.T, w *testenv.World, partner *pki.CA) []stranger {
	other, err := pki.NewCA(pki.CAConfig{TrustDomain: testenv.TrustDomain})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(ca *pki.CA, req pki.Request) *pki.Leaf {
		leaf, err := ca.Issue(req)
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	good := pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")}
	with := func(change func(*x509.Certificate)) pki.Request {
		req := good
		req.Template = change
		return req
	}
	uri := func(id string) *url.URL {
		u, err := url.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	expired := good
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	early := good
	early.NotBefore, early.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	return []stranger{
		{"no certificate", nil},
		{"unknown authority", issue(other, good)},
		{"expired", issue(w.CA, expired)},
		{"not yet valid", issue(w.CA, early)},
		{"wrong purpose", issue(w.CA, pki.Request{Role: pki.Proxy, SPIFFEID: testenv.ID("prometheus")})},
		{"two URIs", issue(w.CA, with(func(c *x509.Certificate) { c.URIs = append(c.URIs, uri(testenv.ID("proxy"))) }))},
		{"a trust domain itself", issue(w.CA, with(func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://example.org")} }))},
		{"no name", issue(w.CA, with(func(c *x509.Certificate) { c.URIs = nil }))},
		{"two DNS names", issue(w.CA, with(func(c *x509.Certificate) {
			c.URIs, c.DNSNames = nil, []string{"prometheus.example.org", "b.example.org"}
		}))},
		{"our domain by a partner's CA", issue(partner, pki.Request{Role: pki.Scraper, SPIFFEID: "spiffe://partner.example/prometheus", Template: func(c *x509.Certificate) {
			c.URIs = []*url.URL{uri(testenv.ID("prometheus"))}
		}})},
		{"partner's domain by our CA", issue(w.CA, with(func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://partner.example/prometheus")} }))},
		{"a domain that nobody trusts", issue(w.CA, with(func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://elsewhere.example/prometheus")} }))},
		{"a CA's own certificate", issue(w.CA, with(func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		}))},
	}
}

// Whoever cannot prove who they are gets past neither listener.
func TestStrangersAreTurnedAway(t *testing.T) {
	t.Parallel()
	partner, err := pki.NewCA(pki.CAConfig{TrustDomain: "partner.example"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "partner.pem")
	if err := os.WriteFile(file, partner.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	domains := authn.TrustDomains{spiffeid.RequireTrustDomainFromString(testenv.TrustDomain), spiffeid.RequireTrustDomainFromString("partner.example")}
	w := testenv.Start(t, testenv.Config{
		TrustDomains: domains,
		Federated:    authn.FederatedFiles{{TrustDomain: domains[1], File: file}},
	})
	for _, s := range strangers(t, w, partner) {
		t.Run(s.name, func(t *testing.T) {
			if answer := w.ScraperWith(s.leaf).Get("/team-a/node"); answer.Err == nil {
				t.Errorf("the scrape listener answered %d", answer.Status)
			}
			if err := openSession(w, s.leaf); err == nil {
				t.Error("the tunnel listener opened a session")
			}
		})
	}
	if n := w.Proxy.Metric("sallyport_proxy_sessions"); n != 0 {
		t.Errorf("%v sessions", n)
	}
	friend, err := partner.Issue(pki.Request{Role: pki.Agent, SPIFFEID: "spiffe://partner.example/team-a/node"})
	if err != nil {
		t.Fatal(err)
	}
	if err := openSession(w, friend); err != nil {
		t.Errorf("a partner with the right certificate: %v", err)
	}
}

// openSession speaks the wire contract as far as Welcome, trusting any proxy.
func openSession(w *testenv.World, leaf *pki.Leaf) error {
	cfg := &tls.Config{RootCAs: w.CA.Pool(), ServerName: "localhost", NextProtos: []string{"h2"}}
	if leaf != nil {
		cfg.Certificates = []tls.Certificate{leaf.TLS()}
	}
	conn, err := grpc.NewClient("passthrough:///"+w.Proxy.TunnelAddr, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stream, err := tunnelv1.NewTunnelClient(conn).Control(ctx)
	if err != nil {
		return err
	}
	hello := &tunnelv1.Hello{Protocol: 1, MaxLanes: 1}
	if err := stream.Send(&tunnelv1.AgentMessage{Kind: &tunnelv1.AgentMessage_Hello{Hello: hello}}); err != nil {
		return err
	}
	message, err := stream.Recv()
	if err != nil {
		return err
	}
	if message.GetWelcome() == nil {
		return fmt.Errorf("got %v", message)
	}
	return nil
}

// An agent that meets another proxy than its own tells it nothing: its own
// certificate stays back, and no session opens.
func TestAgentRefusesTheWrongProxy(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	a := w.StartAgent("team-a/node", testenv.AgentConfig{ProxyID: testenv.ID("another-proxy")},
		testenv.Route("/team-a/node/secret", testenv.Metrics(t).URL))
	testenv.Eventually(t, func() error {
		if !strings.Contains(w.Logs.String(), "handshake failed") {
			return fmt.Errorf("the agent has not been there yet")
		}
		return nil
	})
	if a.Ready() == nil {
		t.Error("the agent is ready")
	}
	if n := w.Proxy.Metric("sallyport_proxy_sessions"); n != 0 {
		t.Errorf("%v sessions", n)
	}
	testenv.Eventually(t, func() error {
		if !strings.Contains(w.Logs.String(), testenv.ID("another-proxy")) {
			return fmt.Errorf("the agent does not say whom it expected")
		}
		return nil
	})
}
