package authn_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

// signCRL fills in a list and signs it, as DER.
func signCRL(t testing.TB, list x509.RevocationList, issuer *x509.Certificate, key *ecdsa.PrivateKey, serials ...*big.Int) []byte {
	t.Helper()
	list.Number = big.NewInt(1)
	for _, serial := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: list.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, &list, issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func newCRL(t testing.TB, ca *pki.CA, from, to time.Time, serials ...*big.Int) []byte {
	return signCRL(t, x509.RevocationList{ThisUpdate: from, NextUpdate: to}, ca.Certificate(), caKey(t, ca), serials...)
}

// forgedCRL bears the names of an authority and the signature of another.
func forgedCRL(t testing.TB, ca *pki.CA) []byte {
	other := newCA(t, pki.CAConfig{TrustDomain: domain})
	// CreateRevocationList takes the names as they stand here.
	issuer := *other.Certificate()
	issuer.RawSubject, issuer.Subject, issuer.SubjectKeyId = ca.Certificate().RawSubject, ca.Certificate().Subject, ca.Certificate().SubjectKeyId
	return signCRL(t, x509.RevocationList{ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}, &issuer, caKey(t, other), gone)
}

func crlPEM(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}) }

func caKey(t testing.TB, ca *pki.CA) *ecdsa.PrivateKey {
	t.Helper()
	text, err := ca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ecdsa.PrivateKey)
}

func TestCRLFilesThatDoNotStart(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	now := time.Now()
	list := func(change func(*x509.RevocationList)) []byte {
		l := x509.RevocationList{ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
		change(&l)
		return signCRL(t, l, ca.Certificate(), caKey(t, ca), gone)
	}
	extension := func(critical bool, value any, id ...int) func(*x509.RevocationList) {
		der, err := asn1.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: id, Critical: critical, Value: der}}
		}
	}
	type scope struct {
		Place    asn1.RawValue `asn1:"optional"`
		OnlyUser bool          `asn1:"optional,tag:1"`
	}
	place := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: []byte{0xa0, 0}}
	good := list(func(*x509.RevocationList) {})
	for _, test := range []struct {
		name string
		text []byte
		want string // "" where it starts
	}{
		{"good", good, ""},
		{"PEM among others", append(ca.CertPEM(), crlPEM(good)...), ""},
		{"names its place", list(extension(true, scope{Place: place}, 2, 5, 29, 28)), ""},
		{"unknown but not critical", list(extension(false, 1, 1, 2, 3)), ""},
		{"empty", nil, "parsing CRL"},
		{"a certificate", ca.CertPEM(), "no CRL in it"},
		{"cut short", crlPEM(good)[:100], "cut short"},
		{"the second is cut short", append(crlPEM(good), crlPEM(good)[:100]...), "CRL 2 is cut short"},
		{"half a DER", good[:len(good)/2], "parsing CRL"},
		{"for users only", list(extension(true, scope{OnlyUser: true}, 2, 5, 29, 28)), "partial"},
		{"changes only", list(extension(true, 7, 2, 5, 29, 27)), "changes only"},
		{"unknown and critical", list(extension(true, 1, 1, 2, 3)), "critical extension 1.2.3"},
		{"an entry of another issuer", list(func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{
				SerialNumber: big.NewInt(9), RevocationTime: now,
				ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 29}, Critical: true, Value: []byte{5, 0}}},
			}}
		}), "critical extension 2.5.29.29"},
	} {
		dir := t.TempDir()
		cfg := put(t, dir, proxyLeaf(t, ca), ca)
		cfg.CRLFiles = []string{filepath.Join(dir, "crl")}
		write(t, cfg.CRLFiles[0], test.text, 0o600)
		_, err := authn.NewFiles(cfg, authn.Server, discard())
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "SALLYPORT_TLS_CRL_FILES")) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	cfg := put(t, t.TempDir(), proxyLeaf(t, ca), ca)
	cfg.CRLFiles = []string{"/no/such/file", "/nor/this"}
	if _, err := authn.NewFiles(cfg, authn.Server, discard()); err == nil || strings.Count(err.Error(), "SALLYPORT_TLS_CRL_FILES") != 2 {
		t.Errorf("two files that are not there: %v", err)
	}
	if err := (authn.Config{Socket: "unix:///x", CRLFiles: []string{"/x"}}).Validate(); err == nil || !strings.Contains(err.Error(), "SALLYPORT_TLS_CRL_FILES") {
		t.Errorf("in SPIFFE mode: %v", err)
	}
}

// An authority that changes its key keeps its name. The CRL of the old key says
// nothing of the new one.
func TestCRLOfAnotherKeyOfTheSameName(t *testing.T) {
	t.Parallel()
	authority := func(id byte, usage x509.KeyUsage) *handCA {
		template := authorityTemplate("the same")
		template.KeyUsage, template.SubjectKeyId = usage, []byte{id}
		return (*handCA)(nil).sign(t, template)
	}
	old := authority(1, x509.KeyUsageCertSign|x509.KeyUsageCRLSign)
	renewed := authority(2, x509.KeyUsageCertSign|x509.KeyUsageCRLSign)
	silent := authority(3, x509.KeyUsageCertSign)
	list := func(ca *handCA) []byte {
		issuer := *ca.cert
		issuer.KeyUsage |= x509.KeyUsageCRLSign
		return crlPEM(signCRL(t, x509.RevocationList{ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}, &issuer, ca.key, big.NewInt(1)))
	}
	dir := t.TempDir()
	cfg := put(t, dir, agentLeaf(t, newCA(t, pki.CAConfig{TrustDomain: domain})))
	var anchors []byte
	for _, ca := range []*handCA{old, renewed, silent} {
		anchors = append(anchors, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})...)
	}
	write(t, cfg.CAFile, anchors, 0o600)
	cfg.CRLFiles = []string{filepath.Join(dir, "crl")}
	write(t, cfg.CRLFiles[0], append(list(old), list(silent)...), 0o600)
	var log book
	source, err := authn.NewFiles(cfg, authn.Client, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	leaf := x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature}
	setURIs(nodeID)(&leaf)
	for name, test := range map[string]struct {
		ca   *handCA
		want authn.Reason
	}{
		"the old key":                {old, authn.Revoked},
		"the new key":                {renewed, ""},
		"a key that may sign no CRL": {silent, authn.RevocationUnknown},
	} {
		_, err := material(t, source).Verify([]*x509.Certificate{test.ca.sign(t, leaf).cert}, authn.Client)
		if (err == nil) != (test.want == "") || err != nil && authn.ReasonOf(err) != test.want {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if lines := log.lines("cannot be revoked"); len(lines) != 1 {
		t.Errorf("warned of authorities without a CRL: %s", lines)
	}
}

// A key may have several certificates, as when it is signed across, and these need
// not agree on its identifier. What the key has revoked is revoked by way of each.
func TestCRLWhateverIdentifierTheKeyHas(t *testing.T) {
	t.Parallel()
	root := authorityTemplate("root")
	root.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	top := (*handCA)(nil).sign(t, root)
	template := authorityTemplate("between")
	template.KeyUsage, template.SubjectKeyId = root.KeyUsage, []byte{1}
	between := top.sign(t, template)
	leaf := x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature}
	setURIs(nodeID)(&leaf)
	peer := between.sign(t, leaf).cert

	dir := t.TempDir()
	cfg := put(t, dir, agentLeaf(t, newCA(t, pki.CAConfig{TrustDomain: domain})))
	write(t, cfg.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: top.cert.Raw}), 0o600)
	cfg.CRLFiles = []string{filepath.Join(dir, "crl")}
	write(t, cfg.CRLFiles[0], signCRL(t, x509.RevocationList{ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}, between.cert, between.key, peer.SerialNumber), 0o600)
	source, err := authn.NewFiles(cfg, authn.Client, discard())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		id    byte
		usage x509.KeyUsage
		want  authn.Reason
	}{
		"the same identifier":                     {1, root.KeyUsage, authn.Revoked},
		"another identifier":                      {2, root.KeyUsage, authn.Revoked},
		"another identifier, and may sign no CRL": {3, x509.KeyUsageCertSign, authn.RevocationUnknown},
	} {
		again := *between.cert
		again.SubjectKeyId, again.KeyUsage, again.SerialNumber = []byte{test.id}, test.usage, big.NewInt(int64(test.id)+100)
		der, err := x509.CreateCertificate(rand.Reader, &again, top.cert, between.key.Public(), top.key)
		if err != nil {
			t.Fatal(err)
		}
		across, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := material(t, source).Verify([]*x509.Certificate{peer, across}, authn.Client); authn.ReasonOf(err) != test.want {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// crlsInTime is a proxy's source with one CRL, and two peers that are in.
func crlsInTime(t *testing.T, f func(t *testing.T, file string, ca *pki.CA, source *authn.Files, log *book)) {
	dir := t.TempDir()
	bubble(t, func(t *testing.T) {
		ca := newCA(t, pki.CAConfig{TrustDomain: domain})
		cfg := put(t, dir, proxyLeaf(t, ca), ca)
		cfg.CRLFiles = []string{filepath.Join(dir, "crl")}
		write(t, cfg.CRLFiles[0], newCRL(t, ca, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)), 0o600)
		var log book
		source, err := authn.NewFiles(cfg, authn.Server, log.logger())
		if err != nil {
			t.Fatal(err)
		}
		run(t, source)
		f(t, cfg.CRLFiles[0], ca, source, &log)
	})
}

func anchorsOf(t testing.TB, trust authn.Trust) *authn.Anchors {
	t.Helper()
	anchors, err := trust.Anchors()
	if err != nil {
		t.Fatal(err)
	}
	return anchors
}

func TestCRLsReload(t *testing.T) {
	t.Parallel()
	crlsInTime(t, func(t *testing.T, file string, ca *pki.CA, source *authn.Files, log *book) {
		stays, goes := agentLeaf(t, ca), agentLeaf(t, ca)
		first := material(t, source)
		var live []*authn.Peer
		for _, leaf := range []*pki.Leaf{stays, goes} {
			peer, err := first.Verify(chainOf(t, leaf), authn.Client)
			if err != nil {
				t.Fatal(err)
			}
			live = append(live, peer)
		}
		changed := source.Changed()
		polled(2)
		if closed(changed) {
			t.Fatal("a change without a change")
		}
		write(t, file, newCRL(t, ca, time.Now(), time.Now().Add(time.Hour), goes.Certificate().SerialNumber), 0o600)
		polled(1)
		if !closed(changed) || material(t, source).Certificate != first.Certificate {
			t.Error("a new CRL is no change, or one of our own certificate")
		}
		now := anchorsOf(t, source)
		for i, want := range []authn.Reason{"", authn.Revoked} {
			again, err := now.Judge(live[i])
			if (err == nil) != (want == "") || err != nil && authn.ReasonOf(err) != want || err == nil && again != live[i] {
				t.Errorf("live peer %d: %v, want %q", i, err, want)
			}
			if _, err := now.Verify(live[i].Chain, authn.Client); (err == nil) != (want == "") {
				t.Errorf("handshake of peer %d: %v", i, err)
			}
		}
		// A list that is renewed without the entry takes it back.
		write(t, file, newCRL(t, ca, time.Now(), time.Now().Add(time.Hour)), 0o600)
		polled(1)
		if _, err := anchorsOf(t, source).Verify(live[1].Chain, authn.Client); err != nil {
			t.Errorf("after it was taken back: %v", err)
		}
		if lines := log.lines("CRL loaded"); len(lines) != 2 {
			t.Errorf("told of %d lists", len(lines))
		}
	})
}

// A CRL that is out of date or gone lets nobody in, but makes nobody leave, and
// what it said of the revoked still holds.
func TestCRLsThatCannotBeTrusted(t *testing.T) {
	t.Parallel()
	crlsInTime(t, func(t *testing.T, file string, ca *pki.CA, source *authn.Files, log *book) {
		leaf, bad := chainOf(t, agentLeaf(t, ca)), agentLeaf(t, ca)
		fresh := func() {
			write(t, file, newCRL(t, ca, time.Now(), time.Now().Add(time.Hour), bad.Certificate().SerialNumber), 0o600)
			polled(2)
		}
		fresh()
		live, err := material(t, source).Verify(leaf, authn.Client)
		if err != nil {
			t.Fatal(err)
		}
		for name, spoil := range map[string]func(){
			"out of date": func() { time.Sleep(time.Hour); polled(1) },
			"gone":        func() { _ = os.Remove(file); polled(3) },
			"half":        func() { write(t, file, []byte("-----BEGIN X509 CRL-----"), 0o600); polled(3) },
			"a folder": func() {
				write(t, file, nil, 0o600)
				_ = os.Remove(file)
				_ = os.Mkdir(file, 0o700)
				polled(3)
			},
		} {
			warned := len(log.lines(`"WARN"`))
			spoil()
			now := anchorsOf(t, source)
			if _, err := now.Verify(leaf, authn.Client); authn.ReasonOf(err) != authn.RevocationUnknown {
				t.Errorf("%s: a handshake: %v", name, err)
			}
			if _, err := now.Verify(chainOf(t, bad), authn.Client); authn.ReasonOf(err) != authn.Revoked {
				t.Errorf("%s: a handshake of a revoked one: %v", name, err)
			}
			if peer, err := now.Judge(live); err != nil || peer != live {
				t.Errorf("%s: a live peer: %v", name, err)
			}
			health := source.Health()
			if health.Revocation == "" || health.CRLNextUpdate.IsZero() || health.Material != nil {
				t.Errorf("%s: health %+v", name, health)
			}
			if text := material(t, source).Describe(authn.Server).String(); !strings.Contains(text, "CRLs 1, ") || !strings.Contains(text, "handshakes are refused: CRL") {
				t.Errorf("%s: described as %s", name, text)
			}
			if n := len(log.lines(`"WARN"`)); n != warned+1 {
				t.Errorf("%s: %d warnings, want one", name, n-warned)
			}
			_ = os.Remove(file)
			fresh()
			if _, err := anchorsOf(t, source).Verify(leaf, authn.Client); err != nil || source.Health().Revocation != "" {
				t.Errorf("%s: after it is well again: %v", name, err)
			}
		}
	})
}

// Neither files of certificates that cannot be used keep a CRL from being renewed,
// nor the other way round, nor does an own certificate that has expired.
func TestCRLsStandApart(t *testing.T) {
	t.Parallel()
	crlsInTime(t, func(t *testing.T, file string, ca *pki.CA, source *authn.Files, _ *book) {
		dir := filepath.Dir(file)
		leaf := agentLeaf(t, ca)
		live, err := material(t, source).Verify(chainOf(t, leaf), authn.Client)
		if err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(file)
		next := issue(t, ca, pki.Request{Role: pki.Proxy, SPIFFEID: prxyID, NotAfter: time.Now().Add(time.Minute)})
		put(t, dir, next, ca)
		polled(3)
		if m := material(t, source); !m.Certificate.Leaf.Equal(next.Certificate()) {
			t.Error("a CRL that is gone keeps a new certificate back")
		}
		if health := source.Health(); !health.Up || health.Rotations != 1 || !health.NotAfter.Equal(next.Certificate().NotAfter) {
			t.Errorf("health %+v", health)
		}
		write(t, filepath.Join(dir, "cert.pem"), nil, 0o600)
		time.Sleep(2 * time.Minute)
		if _, err := source.Material(); err == nil {
			t.Fatal("has not expired")
		}
		if health := source.Health(); health.Up || health.Material == nil || !strings.Contains(health.Cause, "SALLYPORT_TLS_CERT_FILE") {
			t.Errorf("health %+v", health)
		}
		changed := source.Changed()
		write(t, file, newCRL(t, ca, time.Now(), time.Now().Add(time.Hour), leaf.Certificate().SerialNumber), 0o600)
		polled(2)
		if _, err := anchorsOf(t, source).Judge(live); authn.ReasonOf(err) != authn.Revoked || !closed(changed) {
			t.Errorf("after our own certificate has expired: %v", err)
		}
	})
}
