package authn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

func TestListenerJudgesClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clients := w.clients(t)
	if len(clients) < 75 {
		t.Errorf("%d clients", len(clients))
	}
	for protocol, listen := range map[string]func(authn.ListenConfig) *authn.Listener{
		"h2":       func(cfg authn.ListenConfig) *authn.Listener { return authn.ListenTunnel(listen(t), w.source, cfg) },
		"http/1.1": func(cfg authn.ListenConfig) *authn.Listener { return authn.ListenHTTPS(listen(t), w.source, cfg) },
	} {
		t.Run(protocol, func(t *testing.T) { checkListener(t, protocol, listen, clients) })
	}
}

func checkListener(t *testing.T, protocol string, listen func(authn.ListenConfig) *authn.Listener, clients map[string]client) {
	failed := newFailures()
	listener := listen(authn.ListenConfig{Failed: failed.hear})
	peers := serve(t, listener)
	for name, test := range clients {
		t.Run(name, func(t *testing.T) {
			_, err := dial(listener.Addr(), stranger(protocol, test.leaf.TLS()))
			if test.reason == "" {
				if err != nil {
					t.Fatalf("refused: %v", failed.next(t))
				}
				checkPeer(t, <-peers, test.leaf)
				return
			}
			if err == nil {
				t.Fatal("was let in")
			}
			cause := failed.next(t)
			if got := authn.ReasonOf(cause); got != test.reason {
				t.Errorf("reason is %s (%v), want %s", got, cause, test.reason)
			}
			if len(cause.Error()) > 1000 {
				t.Errorf("cause has %d bytes", len(cause.Error()))
			}
		})
	}
	if len(peers) > 0 || len(failed) > 0 {
		t.Errorf("%d peers and %d failures too many", len(peers), len(failed))
	}
}

func checkPeer(t *testing.T, peer *authn.Peer, leaf *pki.Leaf) {
	t.Helper()
	cert := leaf.Certificate()
	want := append(slices.Clone(cert.DNSNames), "")[0]
	if len(cert.URIs) > 0 {
		want = cert.URIs[0].String()
	}
	if peer.Identity.String() != want || peer.Source != "files" {
		t.Errorf("peer is %v by %s, want %s", peer.Identity, peer.Source, want)
	}
	if !peer.Chain[0].Equal(cert) || !peer.Chain[len(peer.Chain)-1].IsCA {
		t.Error("chain does not go from leaf to root")
	}
	if peer.NotAfter.After(cert.NotAfter) {
		t.Errorf("peer ends at %v, its leaf at %v", peer.NotAfter, cert.NotAfter)
	}
	if len(peer.SPKISHA256()) != 64 || !strings.HasSuffix(cert.SerialNumber.Text(16), strings.TrimLeft(peer.Serial(), "0")) {
		t.Errorf("serial %s, key %s", peer.Serial(), peer.SPKISHA256())
	}
}

func TestVerifyTellsReasons(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := material(t, w.source)
	for name, test := range w.clients(t) {
		peer, err := m.Verify(chainOf(t, test.leaf), authn.Client)
		switch {
		case (test.reason == "") != (err == nil):
			t.Errorf("%s: %v", name, err)
		case err == nil && peer == nil:
			t.Errorf("%s: nobody", name)
		case err != nil && (peer != nil || authn.ReasonOf(err) != test.reason):
			t.Errorf("%s: %v, %s (%v)", name, peer, authn.ReasonOf(err), err)
		}
		if _, err := m.Verify(chainOf(t, test.leaf), 0); err == nil {
			t.Errorf("%s passes for no role", name)
		}
	}
	if _, err := m.Verify(nil, authn.Client); authn.ReasonOf(err) != authn.NoCertificate {
		t.Errorf("no certificate: %v", err)
	}
}

func TestVerifyPicksTheChainThatLasts(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	leaf := agentLeaf(t, ca)
	peer, err := material(t, files(t, authn.Server, proxyLeaf(t, ca), ca)).Verify(chainOf(t, leaf), authn.Client)
	if err != nil {
		t.Fatal(err)
	}
	if !peer.NotAfter.Equal(leaf.Certificate().NotAfter) {
		t.Errorf("ends at %v, want the leaf's %v", peer.NotAfter, leaf.Certificate().NotAfter)
	}
	short := newCA(t, pki.CAConfig{TrustDomain: domain, NotAfter: time.Now().Add(time.Minute)})
	leaf = issue(t, short, pki.Request{Role: pki.Agent, SPIFFEID: nodeID, Template: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) }})
	peer, err = material(t, files(t, authn.Server, proxyLeaf(t, short), short)).Verify(chainOf(t, leaf), authn.Client)
	if err != nil {
		t.Fatal(err)
	}
	if !peer.NotAfter.Equal(short.Certificate().NotAfter) {
		t.Errorf("ends at %v, want the root's %v", peer.NotAfter, short.Certificate().NotAfter)
	}
}

func TestExpiredRootBesideAGoodOne(t *testing.T) {
	t.Parallel()
	good := newCA(t, pki.CAConfig{TrustDomain: domain})
	old := newCA(t, pki.CAConfig{TrustDomain: domain, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	m := material(t, files(t, authn.Server, proxyLeaf(t, good), old, good))
	if _, err := m.Verify(chainOf(t, agentLeaf(t, good)), authn.Client); err != nil {
		t.Errorf("under the good root: %v", err)
	}
	late := issue(t, old, pki.Request{Role: pki.Agent, SPIFFEID: nodeID, Template: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) }})
	if _, err := m.Verify(chainOf(t, late), authn.Client); err == nil {
		t.Error("a leaf under the expired root passes")
	}
}

func TestDNSNeedsOurOwnDomain(t *testing.T) {
	t.Parallel()
	own := newCA(t, pki.CAConfig{TrustDomain: domain})
	partner := newCA(t, pki.CAConfig{TrustDomain: "partner.example"})
	dir := t.TempDir()
	cfg := put(t, dir, proxyLeaf(t, own), own)
	write(t, filepath.Join(dir, "partner.pem"), partner.CertPEM(), 0o600)
	td := spiffeid.RequireTrustDomainFromString("partner.example")
	cfg.FederatedCAFiles = authn.FederatedFiles{{TrustDomain: td, File: filepath.Join(dir, "partner.pem")}}
	cfg.TrustDomains = authn.TrustDomains{td}
	source, err := authn.NewFiles(cfg, authn.Server, discard())
	if err != nil {
		t.Fatal(err)
	}
	m := material(t, source)
	scraper := issue(t, own, pki.Request{Role: pki.Scraper, DNSNames: []string{"prometheus"}})
	for name, leaf := range map[string]*pki.Leaf{"DNS": scraper, "SPIFFE": agentLeaf(t, own)} {
		if _, err := m.Verify(chainOf(t, leaf), authn.Client); err == nil {
			t.Errorf("%s: passes, though our own trust domain is not accepted", name)
		}
	}
}

func TestDemoCA(t *testing.T) {
	t.Parallel()
	demo := newCA(t, pki.CAConfig{TrustDomain: domain, Demo: true})
	plain := newCA(t, pki.CAConfig{TrustDomain: domain})
	if !pki.DemoMark().Equal(authn.DemoMark()) {
		t.Fatal("pki marks the demo's CA otherwise")
	}
	for name, cfg := range map[string]authn.Config{
		"anchor": put(t, t.TempDir(), proxyLeaf(t, plain), plain, demo),
		"leaf":   put(t, t.TempDir(), proxyLeaf(t, demo), demo),
	} {
		if _, err := authn.NewFiles(cfg, authn.Server, discard()); err == nil || !strings.Contains(err.Error(), "demo") {
			t.Errorf("%s: %v", name, err)
		}
		cfg.AllowDemoCA = true
		if _, err := authn.NewFiles(cfg, authn.Server, discard()); err != nil {
			t.Errorf("%s, allowed: %v", name, err)
		}
	}
	// An authority of the demo's below a good root.
	sub, err := plain.Intermediate(pki.CAConfig{Demo: true})
	if err != nil {
		t.Fatal(err)
	}
	m := material(t, files(t, authn.Server, proxyLeaf(t, plain), plain))
	if _, err := m.Verify(chainOf(t, agentLeaf(t, sub)), authn.Client); authn.ReasonOf(err) != authn.DemoAuthority {
		t.Errorf("peer below it: %v", err)
	}
}

func TestAnotherDomainsDemoIsNoneOfOurs(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	cfg := put(t, t.TempDir(), proxyLeaf(t, ca), ca)
	federate(t, &cfg, "partner.example", newCA(t, pki.CAConfig{TrustDomain: "partner.example", Demo: true}))
	if _, err := authn.NewFiles(cfg, authn.Server, discard()); err != nil {
		t.Errorf("not accepted: %v", err)
	}
	accept(&cfg, domain, "partner.example")
	if _, err := authn.NewFiles(cfg, authn.Server, discard()); err == nil {
		t.Error("accepted: starts")
	}
}

func TestNoMaterialProvesNobody(t *testing.T) {
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	if peer, err := new(authn.Material).Verify(chainOf(t, agentLeaf(t, ca)), authn.Client); peer != nil || err == nil {
		t.Errorf("the zero material proves %v", peer)
	}
}

// handCA is an authority that may have limits.
type handCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (ca *handCA) sign(t *testing.T, template x509.Certificate) *handCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.BasicConstraintsValid = true
	parent, signer := &template, key
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &handCA{cert, key}
}

func authorityTemplate(name string) x509.Certificate {
	return x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}
}

func TestLimitsOfAnAuthority(t *testing.T) {
	t.Parallel()
	root := (*handCA)(nil).sign(t, authorityTemplate("root"))
	own := newCA(t, pki.CAConfig{TrustDomain: domain})
	cfg := put(t, t.TempDir(), proxyLeaf(t, own), own)
	write(t, cfg.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.cert.Raw}), 0o600)
	source, err := authn.NewFiles(cfg, authn.Server, discard())
	if err != nil {
		t.Fatal(err)
	}
	m := material(t, source)
	usages := func(usages ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
	}
	spiffe := x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature}
	setURIs(nodeID)(&spiffe)
	for _, test := range []struct {
		name  string
		limit func(*x509.Certificate)
		want  authn.Reason
	}{
		{"none", func(*x509.Certificate) {}, ""},
		{"any purpose", usages(x509.ExtKeyUsageAny), ""},
		{"our purpose", usages(x509.ExtKeyUsageClientAuth), ""},
		{"another purpose", usages(x509.ExtKeyUsageServerAuth), authn.WrongPurpose},
		{"other names", func(c *x509.Certificate) {
			c.PermittedURIDomains, c.PermittedDNSDomains = []string{"other.example"}, []string{"other.example"}
		}, authn.BadChain},
		{"no authority", func(c *x509.Certificate) { c.IsCA = false }, authn.UnknownAuthority},
		{"signs no certificates", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, authn.UnknownAuthority},
	} {
		template := authorityTemplate("below")
		test.limit(&template)
		below := root.sign(t, template)
		for kind, leaf := range map[string]x509.Certificate{
			"SPIFFE": spiffe, "DNS": {KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: []string{"prometheus.example.org"}},
		} {
			peer, err := m.Verify([]*x509.Certificate{below.sign(t, leaf).cert, below.cert}, authn.Client)
			if (err == nil) != (test.want == "") || err != nil && authn.ReasonOf(err) != test.want {
				t.Errorf("%s, %s: %v, %v, want %s", test.name, kind, peer, err, test.want)
			}
		}
	}
}

// crypto/x509 quotes the names of an authority that does not fit. They are a
// stranger's, who could fill our log with them.
func TestErrorsAreShort(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	m := material(t, files(t, authn.Server, proxyLeaf(t, ca), ca))
	stranger := (*handCA)(nil).sign(t, authorityTemplate(strings.Repeat("é\x1b[31m", 10_000)))
	// CreateCertificate checks that the key is the parent's, where that has one.
	forger := &handCA{
		cert: &x509.Certificate{RawSubject: stranger.cert.RawSubject},
		key:  (*handCA)(nil).sign(t, authorityTemplate("forger")).key,
	}
	template := x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature}
	setURIs(nodeID)(&template)
	_, err := m.Verify([]*x509.Certificate{forger.sign(t, template).cert, stranger.cert}, authn.Client)
	if authn.ReasonOf(err) != authn.UnknownAuthority || !strings.Contains(err.Error(), "ECDSA verification failure") {
		t.Fatalf("%.200q, want it to speak of the authority", err)
	}
	if n := len(err.Error()); n > 1024 || !utf8.ValidString(err.Error()) {
		t.Errorf("an error of %d bytes", n)
	}
}

func TestReasonOf(t *testing.T) {
	for _, test := range []struct {
		err  error
		want authn.Reason
	}{
		{tls.AlertError(42), authn.Rejected},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, authn.Rejected},
		{&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, authn.Disconnected},
		{errors.New("tls: first record does not look like a TLS handshake"), authn.Protocol},
		{nil, authn.Protocol},
	} {
		if got := authn.ReasonOf(test.err); got != test.want {
			t.Errorf("%v: %s, want %s", test.err, got, test.want)
		}
	}
}
