package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/seed-951114d4/sallyport/pki"
)

const nodeID = "spiffe://example.org/team-a/node"

func newCA(t *testing.T, cfg pki.CAConfig) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *pki.CA, req pki.Request) *pki.Leaf {
	t.Helper()
	leaf, err := ca.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func TestLeafIsAnSVID(t *testing.T) {
	t.Parallel()
	domain := spiffeid.RequireTrustDomainFromString("example.org")
	root := newCA(t, pki.CAConfig{TrustDomain: "example.org"})
	below, err := root.Intermediate(pki.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for name, ca := range map[string]*pki.CA{"root": root, "intermediate": below} {
		leaf := issue(t, ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID})
		key, err := leaf.KeyPEM()
		if err != nil {
			t.Fatal(err)
		}
		svid, err := x509svid.Parse(leaf.CertPEM(), key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		bundle := x509bundle.FromX509Authorities(domain, []*x509.Certificate{root.Certificate()})
		id, chains, err := x509svid.Verify(svid.Certificates, bundle)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if id.String() != nodeID || len(chains) != 1 {
			t.Errorf("%s: verified %v with %d chains", name, id, len(chains))
		}
	}
}

func TestLeafFields(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: "example.org"})
	for role, usage := range map[pki.Role]x509.ExtKeyUsage{
		pki.Proxy:   x509.ExtKeyUsageServerAuth,
		pki.Agent:   x509.ExtKeyUsageClientAuth,
		pki.Scraper: x509.ExtKeyUsageClientAuth,
	} {
		cert := issue(t, ca, pki.Request{Role: role, SPIFFEID: nodeID}).Certificate()
		if !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{usage}) {
			t.Errorf("%v: extended key usage %v, want %v", role, cert.ExtKeyUsage, usage)
		}
		if cert.KeyUsage != x509.KeyUsageDigitalSignature || cert.IsCA {
			t.Errorf("%v: key usage %v, CA %v", role, cert.KeyUsage, cert.IsCA)
		}
		if left := time.Until(cert.NotAfter); left > pki.DefaultLeafLifetime || left < pki.DefaultLeafLifetime-time.Minute {
			t.Errorf("%v: expires in %v", role, left)
		}
		if cert.SerialNumber.BitLen() > 128 || cert.SerialNumber.Sign() <= 0 {
			t.Errorf("%v: serial %x", role, cert.SerialNumber)
		}
	}
}

func TestLeafLivesNoLongerThanItsCA(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{NotAfter: time.Now().Add(time.Hour)})
	leaf := issue(t, ca, pki.Request{Role: pki.Scraper, DNSNames: []string{"prometheus.example.org"}})
	if !leaf.Certificate().NotAfter.Equal(ca.Certificate().NotAfter) {
		t.Errorf("leaf expires %v, CA %v", leaf.Certificate().NotAfter, ca.Certificate().NotAfter)
	}
}

func TestTemplateHasTheLastWord(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: "example.org"})
	foreign := &url.URL{Scheme: "spiffe", Host: "other.org", Path: "/x"}
	leaf := issue(t, ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID, Template: func(c *x509.Certificate) {
		c.URIs = append(c.URIs, foreign)
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}})
	if len(leaf.Certificate().URIs) != 2 || time.Now().Before(leaf.Certificate().NotAfter) {
		t.Errorf("got %v until %v", leaf.Certificate().URIs, leaf.Certificate().NotAfter)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: "example.org"})
	nameless := newCA(t, pki.CAConfig{})
	for name, c := range map[string]struct {
		ca  *pki.CA
		req pki.Request
	}{
		"no role":              {ca, pki.Request{SPIFFEID: nodeID}},
		"nobody":               {ca, pki.Request{Role: pki.Agent}},
		"bare trust domain":    {ca, pki.Request{Role: pki.Agent, SPIFFEID: "spiffe://example.org"}},
		"no SPIFFE ID":         {ca, pki.Request{Role: pki.Agent, SPIFFEID: "https://example.org/a"}},
		"foreign trust domain": {ca, pki.Request{Role: pki.Agent, SPIFFEID: "spiffe://other.org/a"}},
		"CA of no domain":      {nameless, pki.Request{Role: pki.Agent, SPIFFEID: nodeID}},
		"two identities":       {ca, pki.Request{Role: pki.Agent, DNSNames: []string{"a.example.org", "b.example.org"}}},
	} {
		if _, err := c.ca.Issue(c.req); err == nil {
			t.Errorf("%s: issued", name)
		}
	}
	if _, err := pki.NewCA(pki.CAConfig{TrustDomain: "Not A Domain"}); err == nil {
		t.Error("made a CA for a malformed trust domain")
	}
}

func TestDemoMark(t *testing.T) {
	t.Parallel()
	for _, demo := range []bool{true, false} {
		cert := newCA(t, pki.CAConfig{TrustDomain: "example.org", Demo: demo}).Certificate()
		marked := false
		for _, e := range cert.Extensions {
			if e.Id.Equal(pki.DemoMark()) {
				marked = true
				if e.Critical {
					t.Error("the mark is critical, which makes every other program refuse the CA")
				}
			}
		}
		if marked != demo {
			t.Errorf("demo %v: marked %v", demo, marked)
		}
	}
}

// TestHandshake proves that the pieces fit crypto/tls: an agent dials a proxy
// by IP address, each with a leaf of its role.
func TestHandshake(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: "example.org"})
	proxy := issue(t, ca, pki.Request{Role: pki.Proxy, SPIFFEID: "spiffe://example.org/proxy", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	agent := issue(t, ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID})

	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{proxy.TLS()},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    ca.Pool(),
		MinVersion:   tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, err = io.WriteString(conn, "hello")
			conn.Close()
		}
		served <- err
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{
		Certificates: []tls.Certificate{agent.TLS()},
		RootCAs:      ca.Pool(),
		MinVersion:   tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestKeyIsPKCS8(t *testing.T) {
	t.Parallel()
	key, err := newCA(t, pki.CAConfig{}).KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(key)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) != 0 {
		t.Fatalf("got block %v and %d bytes more", block, len(rest))
	}
}
