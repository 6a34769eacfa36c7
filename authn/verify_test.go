package authn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
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

// rawNames replaces the alternative names by what no library would write.
func rawNames(names ...asn1.RawValue) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		value, err := asn1.Marshal(names)
		if err != nil {
			panic(err)
		}
		c.URIs, c.DNSNames, c.IPAddresses = nil, nil, nil
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value})
	}
}

func rawURI(uri string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(uri)}
}

func rawDNS(name string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(name)}
}

func setURIs(uris ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.URIs = nil
		for _, uri := range uris {
			parsed, err := url.Parse(uri)
			if err != nil {
				panic(err)
			}
			c.URIs = append(c.URIs, parsed)
		}
	}
}

// world is one proxy's view: two trust domains with anchors, of which the second
// is foreign; a third that is known but not accepted. Our own domain has several
// authorities, some with a CRL.
type world struct {
	own, partner, shunned, unknown *pki.CA
	source                         *authn.Files

	// Authorities with a CRL: a good one; out of date; of tomorrow; signed by
	// another key; two, of which the older is out of date.
	listed, stale, early, forged, renewed *pki.CA
	// below is an authority under listed, with a CRL of its own; cut is a revoked one.
	below, cut *pki.CA
}

// gone is the serial number that every CRL of the world lists.
var gone = big.NewInt(0x60e)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		own:     newCA(t, pki.CAConfig{TrustDomain: domain}),
		partner: newCA(t, pki.CAConfig{TrustDomain: "partner.example"}),
		shunned: newCA(t, pki.CAConfig{TrustDomain: "shunned.example"}),
		unknown: newCA(t, pki.CAConfig{TrustDomain: domain}),
	}
	dir := t.TempDir()
	crls := w.revoke(t, dir)
	cfg := put(t, dir, proxyLeaf(t, w.own), w.own, w.listed, w.stale, w.early, w.forged, w.renewed)
	cfg.CRLFiles = crls
	write(t, filepath.Join(dir, "partner.pem"), w.partner.CertPEM(), 0o600)
	write(t, filepath.Join(dir, "shunned.pem"), w.shunned.CertPEM(), 0o600)
	federated := "partner.example=" + filepath.Join(dir, "partner.pem") + ",shunned.example=" + filepath.Join(dir, "shunned.pem")
	if err := cfg.FederatedCAFiles.UnmarshalText([]byte(federated)); err != nil {
		t.Fatal(err)
	}
	if err := cfg.TrustDomains.UnmarshalText([]byte("example.org, partner.example")); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.source, err = authn.NewFiles(cfg, authn.Server, discard()); err != nil {
		t.Fatal(err)
	}
	return w
}

// revoke makes the authorities that have CRLs, and the files of these.
func (w *world) revoke(t testing.TB, dir string) []string {
	t.Helper()
	for _, ca := range []**pki.CA{&w.listed, &w.stale, &w.early, &w.forged, &w.renewed} {
		*ca = newCA(t, pki.CAConfig{TrustDomain: domain})
	}
	for _, ca := range []**pki.CA{&w.below, &w.cut} {
		var err error
		if *ca, err = w.listed.Intermediate(pki.CAConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	now, day := time.Now(), 24*time.Hour
	lists := map[string][]byte{
		"listed.pem":  crlPEM(newCRL(t, w.listed, now.Add(-day), now.Add(day), gone, w.cut.Certificate().SerialNumber)),
		"below.der":   newCRL(t, w.below, now.Add(-day), now.Add(day), gone),
		"stale.pem":   crlPEM(newCRL(t, w.stale, now.Add(-day), now.Add(-time.Hour), gone)),
		"early.pem":   crlPEM(newCRL(t, w.early, now.Add(time.Hour), now.Add(day), gone)),
		"forged.pem":  crlPEM(forgedCRL(t, w.forged)),
		"renewed.pem": slices.Concat(crlPEM(newCRL(t, w.renewed, now.Add(-time.Hour), now.Add(day), gone)), crlPEM(newCRL(t, w.renewed, now.Add(-day), now.Add(-time.Hour)))),
	}
	var paths []string
	for name, text := range lists {
		paths = append(paths, filepath.Join(dir, name))
		write(t, filepath.Join(dir, name), text, 0o600)
	}
	return paths
}

// client is a certificate that somebody may present as an agent, and why it is
// refused; "" where it is good.
type client struct {
	leaf   *pki.Leaf
	reason authn.Reason
}

// clients are all of them, by what they are.
func (w *world) clients(t testing.TB) map[string]client {
	hour := time.Hour
	node := pki.Request{Role: pki.Agent, SPIFFEID: nodeID}
	with := func(change func(*x509.Certificate)) pki.Request {
		req := node
		req.Template = change
		return req
	}
	dns := pki.Request{Role: pki.Scraper, DNSNames: []string{"prometheus.example.org"}}
	dnsWith := func(change func(*x509.Certificate)) pki.Request {
		req := dns
		req.Template = change
		return req
	}
	sub := func(cfg pki.CAConfig) *pki.CA {
		ca, err := w.own.Intermediate(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}
	all := make(map[string]client)
	put := func(name string, ca *pki.CA, req pki.Request, reason authn.Reason) {
		t.Helper()
		all[name] = client{issue(t, ca, req), reason}
	}
	put("good", w.own, node, "")
	put("good below an intermediate", sub(pki.CAConfig{}), node, "")
	put("good of the partner", w.partner, pki.Request{Role: pki.Agent, SPIFFEID: "spiffe://partner.example/a"}, "")
	put("good without extended usages", w.own, with(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), "")
	put("good for both roles", w.own, with(func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}), "")
	put("good with a DNS name besides", w.own, with(func(c *x509.Certificate) { c.DNSNames = []string{"a.b", "c.d"} }), "")
	put("good DNS", w.own, dns, "")
	put("longest", w.own, with(setURIs("spiffe://example.org/"+strings.Repeat("p", 2048-21))), "")

	put("another CA of the same name", w.unknown, node, authn.UnknownAuthority)
	put("another CA, DNS", w.unknown, dns, authn.UnknownAuthority)
	put("partner signs ours", w.partner, pki.Request{Role: pki.Agent, SPIFFEID: "spiffe://partner.example/a", Template: setURIs(nodeID)}, authn.UnknownAuthority)
	put("we sign the partner's", w.own, with(setURIs("spiffe://partner.example/a")), authn.UnknownAuthority)
	put("partner signs DNS", w.partner, dns, authn.UnknownAuthority)
	put("shunned", w.shunned, pki.Request{Role: pki.Agent, SPIFFEID: "spiffe://shunned.example/a"}, authn.UntrustedDomain)
	put("unheard of", w.own, with(setURIs("spiffe://nowhere.example/a")), authn.UntrustedDomain)
	put("expired", w.own, pki.Request{Role: pki.Agent, SPIFFEID: nodeID, NotBefore: time.Now().Add(-2 * hour), NotAfter: time.Now().Add(-hour)}, authn.Expired)
	put("expired DNS", w.own, dnsWith(func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*hour), time.Now().Add(-hour)
	}), authn.Expired)
	put("not yet valid", w.own, with(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(hour) }), authn.NotYetValid)
	put("below an expired intermediate", sub(pki.CAConfig{NotBefore: time.Now().Add(-2 * hour), NotAfter: time.Now().Add(-hour)}),
		with(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(hour) }), authn.Expired)

	put("a proxy's", w.own, pki.Request{Role: pki.Proxy, SPIFFEID: nodeID}, authn.WrongPurpose)
	put("a proxy's, DNS", w.own, pki.Request{Role: pki.Proxy, DNSNames: []string{"a.b"}}, authn.WrongPurpose)
	put("any purpose", w.own, with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), authn.WrongPurpose)
	put("unheard-of purpose", w.own, with(func(c *x509.Certificate) {
		c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 2, 3}}
	}), authn.WrongPurpose)
	put("no key usage", w.own, with(func(c *x509.Certificate) { c.KeyUsage = 0 }), authn.WrongPurpose)
	put("encipherment only", w.own, with(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), authn.WrongPurpose)
	put("signs certificates", w.own, with(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), authn.WrongPurpose)
	put("signs revocations", w.own, with(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }), authn.WrongPurpose)
	put("is an authority", w.own, with(func(c *x509.Certificate) { c.IsCA = true }), authn.WrongPurpose)

	put("bare trust domain", w.own, with(setURIs("spiffe://example.org")), authn.BadIdentity)
	put("root path", w.own, with(setURIs("spiffe://example.org/")), authn.BadIdentity)
	put("two URIs", w.own, with(setURIs(nodeID, "spiffe://example.org/other")), authn.BadIdentity)
	put("the same URI twice", w.own, with(setURIs(nodeID, nodeID)), authn.BadIdentity)
	put("a SPIFFE ID and a web address", w.own, with(setURIs(nodeID, "https://example.org/")), authn.BadIdentity)
	put("a web address", w.own, with(setURIs("https://example.org/a")), authn.BadIdentity)
	put("a web address and a DNS name", w.own, dnsWith(setURIs("https://example.org/a")), authn.BadIdentity)
	put("too long", w.own, with(setURIs("spiffe://example.org/"+strings.Repeat("p", 2049-21))), authn.BadIdentity)
	put("ten kilobytes", w.own, with(setURIs("spiffe://example.org/"+strings.Repeat("p", 10<<10))), authn.BadIdentity)
	put("trust domain of 256", w.own, with(setURIs("spiffe://"+strings.Repeat("d", 256)+"/a")), authn.BadIdentity)
	for _, uri := range []string{
		"spiffe://example.org/a//b", "spiffe://example.org/a/", "spiffe://example.org/../a", "spiffe://example.org/./a",
		"spiffe://example.org/a%2fb", "spiffe://example.org/a%20b", "spiffe://user@example.org/a", "spiffe://example.org:443/a",
		"spiffe://example.org/a?b=c", "spiffe://example.org/a#b", "spiffe://EXAMPLE.org/a", "spiffe:///a", "spiffe:example.org/a",
	} {
		put(uri, w.own, with(setURIs(uri)), authn.BadIdentity)
	}
	for _, uri := range []string{"SPIFFE://example.org/a", "spiffe://example.org/a#", "spiffe://example.org/a?"} {
		put("as signed: "+uri, w.own, with(rawNames(rawURI(uri))), authn.BadIdentity)
	}
	put("common name only", w.own, with(func(c *x509.Certificate) {
		c.URIs, c.Subject.CommonName = nil, "prometheus.example.org"
	}), authn.BadIdentity)
	put("two DNS names", w.own, dnsWith(func(c *x509.Certificate) { c.DNSNames = []string{"a.b", "c.d"} }), authn.BadIdentity)
	put("a wildcard", w.own, dnsWith(func(c *x509.Certificate) { c.DNSNames = []string{"*.example.org"} }), authn.BadIdentity)
	put("an upper-case DNS name", w.own, dnsWith(func(c *x509.Certificate) { c.DNSNames = []string{"Prometheus.example.org"} }), authn.BadIdentity)
	put("an address", w.own, dnsWith(func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, []net.IP{net.IPv4(10, 0, 0, 1)} }), authn.BadIdentity)
	put("an address for a DNS name", w.own, dnsWith(rawNames(rawDNS("10.0.0.1"))), authn.BadIdentity)
	put("no names", w.own, dnsWith(rawNames()), authn.BadIdentity)

	serial := func(c *x509.Certificate) { c.SerialNumber = gone }
	put("good beside a CRL", w.listed, node, "")
	put("good beside two CRLs, one out of date", w.renewed, node, "")
	put("good below an authority with a CRL", w.below, node, "")
	put("a revoked serial of an authority without a CRL", w.own, with(serial), "")
	put("revoked", w.listed, with(serial), authn.Revoked)
	put("revoked DNS", w.listed, dnsWith(serial), authn.Revoked)
	put("revoked by the newer of two CRLs", w.renewed, with(serial), authn.Revoked)
	put("revoked by an intermediate", w.below, with(serial), authn.Revoked)
	put("below a revoked intermediate", w.cut, node, authn.Revoked)
	put("CRL out of date", w.stale, node, authn.RevocationUnknown)
	put("CRL out of date, DNS", w.stale, dns, authn.RevocationUnknown)
	put("revoked by a CRL out of date", w.stale, with(serial), authn.Revoked)
	put("CRL not yet valid", w.early, node, authn.RevocationUnknown)
	put("CRL signed by another key", w.forged, node, authn.RevocationUnknown)
	put("listed by a CRL that another key signed", w.forged, with(serial), authn.RevocationUnknown)
	put("revoked and expired", w.listed, with(func(c *x509.Certificate) {
		c.SerialNumber, c.NotBefore, c.NotAfter = gone, time.Now().Add(-2*hour), time.Now().Add(-hour)
	}), authn.Expired)
	return all
}

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
