package authn_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
