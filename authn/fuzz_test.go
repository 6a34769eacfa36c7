package authn_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
)

// fixedCA signs the same bytes for the same names, every time: a fuzzer that
// meets chance takes it for something new.
type fixedCA struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

func newFixedCA(f *testing.F) fixedCA {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fixed"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		f.Fatal(err)
	}
	return fixedCA{cert, key}
}

// sign is false where crypto/x509 does not take the names: then no handshake
// brings them.
func (ca fixedCA) sign(names []byte) (*x509.Certificate, bool) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, ca.key.Public(), ca.key)
	if err != nil {
		return nil, false
	}
	cert, err := x509.ParseCertificate(der)
	return cert, err == nil
}

// FuzzVerify has three ways in: a certificate of any bytes, and well-signed ones
// with one name of any kind and bytes, or with anything at all for names.
func FuzzVerify(f *testing.F) {
	w, ca := newWorld(f), newFixedCA(f)
	cfg := put(f, f.TempDir(), proxyLeaf(f, w.own), w.own)
	write(f, cfg.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}), 0o600)
	source, err := authn.NewFiles(cfg, authn.Server, discard())
	if err != nil {
		f.Fatal(err)
	}
	m := material(f, source)
	for _, client := range w.clients(f) {
		cert := client.leaf.Certificate()
		for _, uri := range cert.URIs {
			f.Add(cert.Raw, uri.String(), byte(6))
		}
		for _, name := range cert.DNSNames {
			f.Add(cert.Raw, name, byte(2))
		}
		for _, extension := range cert.Extensions {
			f.Add(ca.cert.Raw, string(extension.Value), byte(1))
		}
	}
	// A fuzz test in which nothing passes proves nothing.
	names, _ := asn1.Marshal([]asn1.RawValue{rawURI(nodeID)})
	if cert, ok := ca.sign(names); !ok {
		f.Fatal("a good name is not signed")
	} else if _, err := m.Verify([]*x509.Certificate{cert}, authn.Client); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, der []byte, name string, tag byte) {
		if cert, err := x509.ParseCertificate(der); err == nil {
			judge(t, m, cert)
		}
		if cert, ok := ca.sign([]byte(name)); ok {
			judge(t, m, cert)
		}
		names, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: int(tag % 31), Bytes: []byte(name)}})
		if err != nil {
			t.Fatal(err)
		}
		if cert, ok := ca.sign(names); ok {
			if peer := judge(t, m, cert); peer != nil && peer.Identity.String() != name {
				t.Errorf("signed %q, read %q", name, peer.Identity)
			}
		}
	})
}

func judge(t *testing.T, m *authn.Material, cert *x509.Certificate) *authn.Peer {
	t.Helper()
	peer, err := m.Verify([]*x509.Certificate{cert, cert}, authn.Client)
	switch {
	case (peer == nil) == (err == nil):
		t.Fatalf("peer %v, error %v", peer, err)
	case err != nil && authn.ReasonOf(err) == "":
		t.Fatalf("no reason for %v", err)
	case err != nil:
		return nil
	}
	id := peer.Identity
	if id.IsZero() || len(id.String()) > 2048 || len(id.Segments()) == 0 || len(peer.Chain) != 2 {
		t.Fatalf("proved %q by a chain of %d", id, len(peer.Chain))
	}
	return peer
}

func FuzzIdentityNames(f *testing.F) {
	f.Add("prometheus.example.org")
	f.Add("*.example.org")
	f.Fuzz(func(t *testing.T, name string) {
		identity, err := authn.DNSIdentity(name)
		if (err == nil) == identity.IsZero() || err == nil && identity.String() != name {
			t.Errorf("%q: %v, %v", name, identity, err)
		}
		var domains authn.TrustDomains
		_ = domains.UnmarshalText([]byte(name))
		var files authn.FederatedFiles
		_ = files.UnmarshalText([]byte(name))
	})
}
