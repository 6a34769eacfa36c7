package authn_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

// proxyInTime is a proxy's source that runs in fake time.
func proxyInTime(t *testing.T, f func(t *testing.T, ca *pki.CA, cfg authn.Config, source *authn.Files)) {
	dir := t.TempDir()
	bubble(t, func(t *testing.T) {
		ca := newCA(t, pki.CAConfig{TrustDomain: domain})
		cfg := put(t, dir, proxyLeaf(t, ca), ca)
		source, err := authn.NewFiles(cfg, authn.Server, discard())
		if err != nil {
			t.Fatal(err)
		}
		run(t, source)
		f(t, ca, cfg, source)
	})
}

func verified(t testing.TB, anchors *authn.Anchors, leaf *pki.Leaf) *authn.Peer {
	t.Helper()
	peer, err := anchors.Verify(chainOf(t, leaf), authn.Client)
	if err != nil {
		t.Fatal(err)
	}
	return peer
}

func TestJudgeToTheSecond(t *testing.T) {
	t.Parallel()
	proxyInTime(t, func(t *testing.T, ca *pki.CA, _ authn.Config, source *authn.Files) {
		anchors := anchorsOf(t, source)
		peer := verified(t, anchors, issue(t, ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID, NotAfter: time.Now().Add(time.Hour)}))
		time.Sleep(time.Until(peer.NotAfter) - time.Nanosecond)
		if again, err := anchors.Judge(peer); err != nil || again != peer {
			t.Errorf("before its end: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if again, err := anchors.Judge(peer); authn.ReasonOf(err) != authn.Expired || again != nil {
			t.Errorf("at its end: %v, %v", again, err)
		}
		time.Sleep(time.Hour)
		if again, err := anchors.Judge(peer); authn.ReasonOf(err) != authn.Expired || again != nil {
			t.Errorf("after its end: %v, %v", again, err)
		}
	})
}

func TestJudgeUnderOtherAnchors(t *testing.T) {
	t.Parallel()
	proxyInTime(t, func(t *testing.T, ca *pki.CA, cfg authn.Config, source *authn.Files) {
		next := newCA(t, pki.CAConfig{TrustDomain: domain})
		var live []*authn.Peer
		for _, leaf := range []*pki.Leaf{agentLeaf(t, ca), agentLeaf(t, intermediate(t, ca)), issue(t, ca, pki.Request{Role: pki.Scraper, DNSNames: []string{"prometheus"}})} {
			live = append(live, verified(t, anchorsOf(t, source), leaf))
		}
		check := func(what string, want authn.Reason) {
			t.Helper()
			for i, peer := range live {
				again, err := anchorsOf(t, source).Judge(peer)
				if (err == nil) != (want == "") || err != nil && authn.ReasonOf(err) != want || err == nil && again != peer {
					t.Errorf("%s: peer %d: %v, want %q", what, i, err, want)
				}
			}
		}
		certificate := material(t, source).Certificate
		changed := source.Changed()
		write(t, cfg.CAFile, append(next.CertPEM(), ca.CertPEM()...), 0o600)
		polled(1)
		if !closed(changed) || material(t, source).Certificate != certificate {
			t.Error("an authority joined: no change, or one of our own certificate")
		}
		check("an authority joined", "")
		verified(t, anchorsOf(t, source), agentLeaf(t, next))
		changed = source.Changed()
		write(t, cfg.CAFile, next.CertPEM(), 0o600)
		polled(1)
		if !closed(changed) {
			t.Error("an authority left: no change")
		}
		check("an authority left", authn.UnknownAuthority)
		if health := source.Health(); health.Rotations != 0 || !health.Up {
			t.Errorf("health %+v", health)
		}
	})
}

// A root that is renewed under its old key prolongs what it has signed: at the end of
// the old one peers stay, with another chain.
func TestJudgeFindsAnotherChain(t *testing.T) {
	t.Parallel()
	proxyInTime(t, func(t *testing.T, ca *pki.CA, cfg authn.Config, source *authn.Files) {
		now := time.Now()
		key := caKey(t, ca)
		root := func(serial int64, end time.Time) *x509.Certificate {
			return selfSigned(t, key, serial, now, end)
		}
		old, renewed := root(1, now.Add(time.Hour)), root(2, now.Add(24*time.Hour))
		template := x509.Certificate{
			SerialNumber: big.NewInt(3), NotBefore: now, NotAfter: now.Add(12 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
			BasicConstraintsValid: true,
		}
		setURIs(nodeID)(&template)
		der, err := x509.CreateCertificate(rand.Reader, &template, old, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		anchored := func(roots ...*x509.Certificate) *authn.Anchors {
			var text []byte
			for _, root := range roots {
				text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})...)
			}
			write(t, cfg.CAFile, text, 0o600)
			polled(1)
			return anchorsOf(t, source)
		}
		peer, err := anchored(old).Verify([]*x509.Certificate{leaf}, authn.Client)
		if err != nil || !peer.NotAfter.Equal(old.NotAfter) {
			t.Fatalf("%v, %v", peer, err)
		}
		peer.Group, peer.Suite = 7, 8
		both := anchored(old, renewed)
		if again, err := both.Judge(peer); err != nil || again != peer {
			t.Errorf("while its chain stands: %v", err)
		}
		time.Sleep(time.Until(old.NotAfter))
		again, err := both.Judge(peer)
		if err != nil || again == peer || again.Identity != peer.Identity || !again.NotAfter.Equal(leaf.NotAfter) || again.Group != 7 || again.Suite != 8 {
			t.Errorf("at the old root's end: %+v, %v", again, err)
		}
		if _, err := anchored(old).Judge(peer); err == nil {
			t.Error("stays without the renewed root")
		}
	})
}

func selfSigned(t testing.TB, key *ecdsa.PrivateKey, serial int64, from, to time.Time) *x509.Certificate {
	t.Helper()
	template := authorityTemplate("renewed")
	template.SerialNumber, template.NotBefore, template.NotAfter, template.BasicConstraintsValid = big.NewInt(serial), from, to, true
	template.SubjectKeyId = []byte{1}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// An agent's peer is the proxy, known by its ID or by the name that was dialled.
func TestJudgeTheProxy(t *testing.T) {
	t.Parallel()
	ca, next := newCA(t, pki.CAConfig{TrustDomain: domain}), newCA(t, pki.CAConfig{TrustDomain: domain})
	proxy := startProxy(t, files(t, authn.Server, proxyLeaf(t, ca), ca), newFailures())
	dir := t.TempDir()
	agent, err := authn.NewFiles(put(t, dir, agentLeaf(t, ca), ca), authn.Client, discard())
	if err != nil {
		t.Fatal(err)
	}
	run(t, agent)
	var peers []*authn.Peer
	for _, id := range []spiffeid.ID{spiffeid.RequireFromString(prxyID), {}} {
		_, stream, err := call(t, proxy.addr, authn.TunnelClientCredentials(agent, id))
		if err != nil {
			t.Fatal(err)
		}
		<-proxy.calls
		peer, ok := authn.PeerFromContext(stream.Context())
		if !ok {
			t.Fatal("no peer")
		}
		if again, err := anchorsOf(t, agent).Judge(peer); err != nil || again != peer {
			t.Errorf("%v: %v", peer.Identity, err)
		}
		peers = append(peers, peer)
	}
	if peers[0].Identity.Kind() != authn.SPIFFE || peers[1].Identity.Kind() != authn.DNS {
		t.Errorf("peers are %v, %v", peers[0].Identity, peers[1].Identity)
	}
	before := anchorsOf(t, agent)
	write(t, filepath.Join(dir, "ca.pem"), next.CertPEM(), 0o600)
	until(t, agent, "new anchors", func(m *authn.Material, err error) bool { return err == nil && m.Anchors() != before })
	for _, peer := range peers {
		if _, err := anchorsOf(t, agent).Judge(peer); authn.ReasonOf(err) != authn.UnknownAuthority {
			t.Errorf("%v: after its authority left: %v", peer.Identity, err)
		}
	}
}

func TestJudgeNobody(t *testing.T) {
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	peer := verified(t, material(t, files(t, authn.Server, proxyLeaf(t, ca), ca)).Anchors(), agentLeaf(t, ca))
	if again, err := new(authn.Anchors).Judge(peer); again != nil || err == nil {
		t.Errorf("no anchors: %v", again)
	}
	if again, err := (*authn.Anchors)(nil).Judge(peer); again != nil || err == nil {
		t.Errorf("nil anchors: %v", again)
	}
	for name, nobody := range map[string]*authn.Peer{"zero": {}, "nil": nil, "made by hand": {Identity: peer.Identity, Chain: peer.Chain, NotAfter: peer.NotAfter}} {
		if again, err := new(authn.Anchors).Judge(nobody); again != nil || err == nil {
			t.Errorf("%s: %v", name, again)
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	ca := newCA(b, pki.CAConfig{TrustDomain: domain})
	dir := b.TempDir()
	cfg := put(b, dir, proxyLeaf(b, ca), ca)
	cfg.CRLFiles = []string{filepath.Join(dir, "crl")}
	write(b, cfg.CRLFiles[0], newCRL(b, ca, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), gone), 0o600)
	source, err := authn.NewFiles(cfg, authn.Server, discard())
	if err != nil {
		b.Fatal(err)
	}
	anchors := anchorsOf(b, source)
	peer := verified(b, anchors, agentLeaf(b, ca))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := anchors.Judge(peer); err != nil {
			b.Fatal(err)
		}
	}
}
