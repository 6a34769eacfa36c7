package proxy_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/pki"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
	"github.com/seed-951114d4/sallyport/testenv"
)

const partner = "partner.example"

func issue(t *testing.T, ca *pki.CA, req pki.Request) *pki.Leaf {
	t.Helper()
	leaf, err := ca.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	replace(t, path, data)
	return path
}

// replace swaps a file whole, as those who renew one do.
func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// goodbye waits for the end of the agent's session, and how it is told.
func (a *rawAgent) goodbye() *tunnelv1.Goodbye {
	a.t.Helper()
	for {
		if bye := a.receive().GetGoodbye(); bye != nil {
			return bye
		}
	}
}

// within fails the test where what was done since took too long.
func within(t *testing.T, began time.Time, limit time.Duration) {
	t.Helper()
	if took := time.Since(began); took > limit {
		t.Errorf("took %s, want at most %s", took, limit)
	}
}

// The whole of an expiry on the network: the agent is told, its route is gone, the
// scrape in flight ends.
func TestExpiryEndsARealSession(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	leaf := w.Leaf(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a/node"), NotAfter: time.Now().Add(3 * time.Second)})
	end := leaf.Certificate().NotAfter
	gate := testenv.NewGate(t, false)
	short := w.StartAgent("team-a/node", testenv.AgentConfig{Source: w.Keep(w.Files(leaf, w.CA), authn.Client)}, testenv.Route(path, gate.URL))
	short.WaitReady()
	a := newRawAgentWith(t, w, leaf)
	a.begin()
	flying := make(chan testenv.Answer, 1)
	go func() { flying <- w.Scraper("prometheus").Get(path) }()
	<-gate.Arrived()

	bye := a.goodbye()
	if late := time.Since(end); late < 0 || late > time.Second {
		t.Errorf("told %s after the end", late)
	}
	if bye.GetCode() != tunnelv1.Goodbye_REFUSED || !strings.Contains(bye.GetReason(), "the certificate ended at "+end.UTC().Format(time.RFC3339)) {
		t.Errorf("told %v", bye)
	}
	if answer := <-flying; answer.Status == 200 {
		t.Errorf("the scrape in flight ended with %d", answer.Status)
	}
	testenv.WaitMetric(w, w.Proxy, 2, "sallyport_proxy_sessions_ended_total", "reason", "expired")
	testenv.WaitMetric(w, w.Proxy, 0, "sallyport_proxy_sessions")
	if answer := w.Scraper("prometheus").Get(path); answer.Outcome != "agent_gone" {
		t.Errorf("the route: %d %s", answer.Status, answer.Outcome)
	}
	revoked := w.Audit.Events("session", authz.Revoked)
	if len(revoked) != 2 || revoked[0].TLSGroup != "X25519MLKEM768" || revoked[0].TLSSuite == "" || len(revoked[0].Decision.Reasons) != 1 {
		t.Errorf("audited: %+v", revoked)
	}
}

// What operators are shown of a session.
func TestSessionsShowTheirConnection(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	leaf := w.Leaf(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a/node")})
	source := w.Keep(w.Files(leaf, w.CA), authn.Client)
	w.StartAgent("team-a/node", testenv.AgentConfig{Source: source}, testenv.Route(path, testenv.Metrics(t).URL)).WaitReady()
	s := w.Proxy.Sessions()[0]
	if s.Group != "X25519MLKEM768" || !strings.HasPrefix(s.Suite, "TLS_") {
		t.Errorf("group %q, suite %q", s.Group, s.Suite)
	}
	if want := leaf.Certificate(); s.Agent.Serial != fmt.Sprintf("%x", want.SerialNumber.Bytes()) || !s.Agent.NotAfter.Equal(want.NotAfter) {
		t.Errorf("serial %s until %s", s.Agent.Serial, s.Agent.NotAfter)
	}
	admitted := w.Audit.Events("session", authz.Admitted)
	if len(admitted) != 1 || !admitted[0].NotAfter.Equal(s.Agent.NotAfter) || admitted[0].TLSGroup != s.Group || admitted[0].TLSSuite != s.Suite {
		t.Errorf("audited: %+v", admitted)
	}
}

// An authority that leaves the bundle takes the sessions with it that need it, and
// no others; one that joins is believed at the next handshake.
func TestAuthoritiesComeAndGo(t *testing.T) {
	t.Parallel()
	other := testenv.NewCA(t, testenv.TrustDomain)
	w := testenv.Start(t, testenv.Config{WorkloadAPI: true, Policy: anyRoute})
	w.Agent("team-a/node", testenv.Route("/stays", testenv.Metrics(t).URL))
	leaf := issue(t, other, pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-b/node")})
	if err := refusedHandshake(w, leaf); err == nil {
		t.Error("an authority that nobody named is believed")
	}
	stop := load(w.Scraper("prometheus"), 4, "/stays")

	w.Trust.Believe(testenv.TrustDomain, w.CA, other)
	testenv.EventuallyWithin(t, 5*time.Second, func() error { return refusedHandshake(w, leaf) })
	a := newRawAgentWith(t, w, leaf)
	a.begin()
	a.offer(routeOffer("/goes"))

	began := time.Now()
	w.Trust.Believe(testenv.TrustDomain, w.CA)
	bye := a.goodbye()
	within(t, began, 5*time.Second)
	if bye.GetCode() != tunnelv1.Goodbye_REFUSED || bye.GetReason() != "the certificate is no longer accepted: unknown_authority" {
		t.Errorf("told %v", bye)
	}
	if answer := w.Scraper("prometheus").Get("/goes"); answer.Outcome != "agent_gone" {
		t.Errorf("its route: %d %s", answer.Status, answer.Outcome)
	}
	if err := refusedHandshake(w, leaf); err == nil {
		t.Error("an authority that left is believed")
	}
	if scrapes, failures := stop(); len(failures) > 0 || scrapes == 0 {
		t.Errorf("%d of %d other scrapes failed: %.10q", len(failures), scrapes, failures)
	}
	if n := w.Proxy.Metric("sallyport_proxy_sessions_ended_total", "reason", "unknown_authority"); n != 1 {
		t.Errorf("%v sessions ended", n)
	}
}

// refusedHandshake is why the proxy's tunnel does not take the certificate.
func refusedHandshake(w *testenv.World, leaf *pki.Leaf) error {
	conn, err := tls.Dial("tcp", w.Proxy.TunnelAddr, &tls.Config{
		RootCAs: w.CA.Pool(), ServerName: "localhost", NextProtos: []string{"h2"}, Certificates: []tls.Certificate{leaf.TLS()},
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	// With TLS 1.3 a client hears of its refusal when it reads; HTTP/2 begins with
	// the server's settings.
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Read(make([]byte, 1))
	return err
}

// Another domain's sessions and scrapers end with that domain's anchors.
func TestFederationEnds(t *testing.T) {
	t.Parallel()
	theirs := testenv.NewCA(t, partner)
	w := testenv.Start(t, testenv.Config{WorkloadAPI: true, Policy: anyRoute, TrustDomains: authn.TrustDomains{
		spiffeid.RequireTrustDomainFromString(testenv.TrustDomain), spiffeid.RequireTrustDomainFromString(partner),
	}})
	gate := testenv.NewGate(t, true)
	w.Agent("team-a/node", testenv.Route("/ours", gate.URL))
	leaf := issue(t, theirs, pki.Request{Role: pki.Agent, SPIFFEID: "spiffe://" + partner + "/node"})
	w.Trust.Believe(partner, theirs)
	testenv.EventuallyWithin(t, 5*time.Second, func() error { return refusedHandshake(w, leaf) })
	a := newRawAgentWith(t, w, leaf)
	a.begin()
	visitor := w.ScraperWith(issue(t, theirs, pki.Request{Role: pki.Scraper, SPIFFEID: "spiffe://" + partner + "/prometheus"}))
	flying := make(chan testenv.Answer, 2)
	for _, scraper := range []*testenv.Scraper{visitor, w.Scraper("prometheus")} {
		go func() { flying <- scraper.Get("/ours") }()
		<-gate.Arrived()
	}

	w.Trust.Believe(partner)
	if bye := a.goodbye(); bye.GetCode() != tunnelv1.Goodbye_REFUSED {
		t.Errorf("told %v", bye)
	}
	// The visitor's head has gone out: its scrape breaks off. Ours goes on.
	if answer := <-flying; answer.Err == nil {
		t.Errorf("the visitor's scrape ended with %d", answer.Status)
	}
	gate.Open()
	gate.Open()
	if answer := <-flying; answer.Err != nil || answer.Status != 200 {
		t.Errorf("our own: %d %v", answer.Status, answer.Err)
	}
	if answer := visitor.Get("/ours"); answer.Err == nil {
		t.Errorf("the visitor got %d", answer.Status)
	}
}

// A certificate that is revoked while it holds a session loses it, within seconds.
func TestRevocationEndsASession(t *testing.T) {
	t.Parallel()
	ca := testenv.NewCA(t, testenv.TrustDomain)
	crl := write(t, "ca.crl", revocations(t, ca, 1))
	w := testenv.Start(t, testenv.Config{CA: ca, CRLs: []string{crl}})
	w.Agent("team-a/node", testenv.Route(path, testenv.Metrics(t).URL))
	leaf := w.Leaf(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-b/node")})
	a := newRawAgentWith(t, w, leaf)
	a.begin()
	scraperLeaf := w.Leaf(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")})
	scraper := w.ScraperWith(scraperLeaf)
	if answer := scraper.Get(path); answer.Status != 200 {
		t.Fatalf("got %d %v", answer.Status, answer.Err)
	}

	began := time.Now()
	replace(t, crl, revocations(t, ca, 2, leaf.Certificate(), scraperLeaf.Certificate()))
	bye := a.goodbye()
	within(t, began, 5*time.Second)
	if bye.GetCode() != tunnelv1.Goodbye_REFUSED || bye.GetReason() != "the certificate is no longer accepted: revoked" {
		t.Errorf("told %v", bye)
	}
	if answer := scraper.Get(path); answer.Err == nil {
		t.Errorf("a revoked scraper got %d", answer.Status)
	}
	if n := w.Proxy.Metric("sallyport_proxy_scraper_connections_ended_total", "reason", "revoked"); n != 1 {
		t.Errorf("%v connections ended", n)
	}
	if answer := w.Scraper("prometheus").Get(path); answer.Status != 200 {
		t.Errorf("another certificate: %d %v", answer.Status, answer.Err)
	}
	if n := len(w.Proxy.Sessions()); n != 1 {
		t.Errorf("%d sessions, the other agent's should stay", n)
	}
}

// revocations is a CRL of the authority.
func revocations(t *testing.T, ca *pki.CA, number int64, revoked ...*x509.Certificate) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, cert := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.Certificate(), keyOf(t, ca))
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// Sessions that are being admitted while their authority leaves do not slip
// through, wherever they are on their way.
func TestTrustChangesDuringAdmission(t *testing.T) {
	t.Parallel()
	other := testenv.NewCA(t, testenv.TrustDomain)
	w := testenv.Start(t, testenv.Config{WorkloadAPI: true, Policy: anyRoute})
	w.Trust.Believe(testenv.TrustDomain, w.CA, other)
	leaf := issue(t, other, pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-b/node")})
	testenv.EventuallyWithin(t, 5*time.Second, func() error { return refusedHandshake(w, leaf) })
	var agents []*rawAgent
	for range 16 {
		a := newRawAgentWith(t, w, leaf) // the handshake is over when it has a stream
		agents = append(agents, a)
	}
	go w.Trust.Believe(testenv.TrustDomain, w.CA)
	for _, a := range agents {
		_ = a.control.Send(hello())
	}
	for i, a := range agents {
		for {
			message, err := a.control.Recv()
			if err != nil || message.GetGoodbye() != nil {
				break
			}
			if message.GetWelcome() == nil {
				t.Fatalf("agent %d: %v", i, message)
			}
		}
	}
	testenv.WaitMetric(w, w.Proxy, 0, "sallyport_proxy_sessions")
}
