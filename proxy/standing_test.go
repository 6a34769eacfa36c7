package proxy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/pki"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// yes is a policy that allows everything and never changes.
type yes struct{}

func (yes) Session(context.Context, authz.SessionInput) authz.Decision {
	return authz.Decision{Allow: true}
}
func (yes) Register(context.Context, authz.RegisterInput) authz.Decision {
	return authz.Decision{Allow: true}
}
func (yes) Scrape(context.Context, authz.ScrapeInput) authz.Decision {
	return authz.Decision{Allow: true}
}
func (yes) Revision() string         { return "" }
func (yes) Changed() <-chan struct{} { return nil }

// trust is what a test says it is.
type trust struct{ anchors atomic.Pointer[authn.Anchors] }

func trusting(anchors *authn.Anchors) *trust {
	t := new(trust)
	t.anchors.Store(anchors)
	return t
}

func (t *trust) Anchors() (*authn.Anchors, error) {
	if anchors := t.anchors.Load(); anchors != nil {
		return anchors, nil
	}
	return nil, errors.New("none yet")
}

func (t *trust) Changed() <-chan struct{} { return nil }

// bubble is when a bubble's clock begins. What a bubble needs of certificates is
// made outside: in FIPS mode entropy comes from a clock, and a bubble's stands still.
var bubble = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// authority is one that is valid from then on.
func authority(t *testing.T, from time.Time, life time.Duration) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA(pki.CAConfig{TrustDomain: testenv.TrustDomain, NotBefore: from, NotAfter: from.Add(life)})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// agentOf is an agent's certificate that is valid from then on, whatever its
// authority is.
func agentOf(t *testing.T, ca *pki.CA, from time.Time, life time.Duration) *pki.Leaf {
	t.Helper()
	return issue(t, ca, pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("a"), NotBefore: from, Template: notAfter(from.Add(life))})
}

// filesOf are a daemon's. The first authority is its own.
func filesOf(t *testing.T, ca *pki.CA, others ...[]byte) authn.Config {
	t.Helper()
	w := &testenv.World{TB: t, CA: ca}
	files := w.Files(issue(t, ca, pki.Request{Role: pki.Proxy, SPIFFEID: testenv.ID("proxy"), NotBefore: ca.Certificate().NotBefore, NotAfter: ca.Certificate().NotAfter}), ca)
	if err := os.WriteFile(files.CAFile, slices.Concat(append(others, ca.CertPEM())...), 0o600); err != nil {
		t.Fatal(err)
	}
	return files
}

// anchorsOf reads anchors as a daemon does.
func anchorsOf(t *testing.T, files authn.Config) *authn.Anchors {
	t.Helper()
	source, err := authn.NewFiles(files, authn.Server, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	anchors, err := source.Anchors()
	if err != nil {
		t.Fatal(err)
	}
	return anchors
}

// notAfter lets a certificate end later than its authority.
func notAfter(end time.Time) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotAfter = end }
}

func keyOf(t *testing.T, ca *pki.CA) *ecdsa.PrivateKey {
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

// renewed is the authority's certificate once more, for the same key.
func renewed(t *testing.T, ca *pki.CA, end time.Time) []byte {
	t.Helper()
	key := keyOf(t, ca)
	template := *ca.Certificate()
	template.NotAfter, template.SerialNumber = end, big.NewInt(4711)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func bareProxy(t *testing.T, tr authn.Trust) (*proxy.Proxy, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	p, err := proxy.New(testenv.ProxyConfig(), proxy.Parts{
		Policy: yes{}, Audit: new(testenv.Audit), Trust: tr, ScrapeTrust: tr, Self: func() authz.ProxyInput { return authz.ProxyInput{} },
		Log: slog.New(slog.DiscardHandler), Metrics: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, registry
}

func prove(t *testing.T, anchors *authn.Anchors, leaf *pki.Leaf) *authn.Peer {
	t.Helper()
	var chain []*x509.Certificate
	for _, der := range leaf.TLS().Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, cert)
	}
	peer, err := anchors.Verify(chain, authn.Client)
	if err != nil {
		t.Fatal(err)
	}
	return peer
}

// A session ends when the first certificate of its chain does: not a second
// before, not a second after. The agent is told why and then cut off.
func TestSessionEndsToTheSecond(t *testing.T) {
	for _, tt := range []struct {
		name               string
		leaf, intermediate time.Duration
	}{
		{"the leaf first", time.Hour, 2 * time.Hour},
		{"the intermediate first", 2 * time.Hour, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := authority(t, bubble, 24*time.Hour)
			below, err := root.Intermediate(pki.CAConfig{NotBefore: bubble, NotAfter: bubble.Add(tt.intermediate)})
			if err != nil {
				t.Fatal(err)
			}
			leaf, files := agentOf(t, below, bubble, tt.leaf), filesOf(t, root)
			synctest.Test(t, func(t *testing.T) {
				tr := trusting(anchorsOf(t, files))
				p, _ := bareProxy(t, tr)
				ours, theirs := net.Pipe()
				var told *tunnelv1.Goodbye
				var at time.Time
				if err := proxy.Hold(p, prove(t, tr.anchors.Load(), leaf), ours, func(m *tunnelv1.ProxyMessage) error {
					told, at = m.GetGoodbye(), time.Now()
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				end := time.Now().Add(time.Hour)
				time.Sleep(time.Hour - time.Second)
				synctest.Wait()
				if n := len(p.Sessions()); n != 1 {
					t.Fatalf("%d sessions a second before the end", n)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if n := len(p.Sessions()); n != 0 || !at.Equal(end) {
					t.Errorf("%d sessions at the end; the agent was told at %s, the end is %s", n, at, end)
				}
				if want := "the certificate ended at " + end.UTC().Format(time.RFC3339); told.GetCode() != tunnelv1.Goodbye_REFUSED || told.GetReason() != want {
					t.Errorf("the agent was told %v", told)
				}
				if _, err := theirs.Read(make([]byte, 1)); err == nil || time.Since(end) > 2*time.Second {
					t.Errorf("cut %s after the end: %v", time.Since(end), err)
				}
			})
		})
	}
}

// A root that is renewed under the same key prolongs what it signed, whether the
// proxy hears of it before the old one ends or finds it then.
func TestRenewedRootProlongsSessions(t *testing.T) {
	for _, told := range []bool{true, false} {
		root := authority(t, bubble, time.Hour)
		leaf := agentOf(t, root, bubble, 3*time.Hour)
		before, after := filesOf(t, root), filesOf(t, root, renewed(t, root, bubble.Add(10*time.Hour)))
		synctest.Test(t, func(t *testing.T) {
			tr := trusting(anchorsOf(t, before))
			p, registry := bareProxy(t, tr)
			earliest := func(want time.Duration) {
				t.Helper()
				if have := expiry(t, registry) - float64(bubble.Unix()); have != want.Seconds() {
					t.Errorf("the first end is after %v s, want %v", have, want.Seconds())
				}
			}
			ours, theirs := net.Pipe()
			defer theirs.Close()
			if err := proxy.Hold(p, prove(t, tr.anchors.Load(), leaf), ours, func(*tunnelv1.ProxyMessage) error { return nil }); err != nil {
				t.Fatal(err)
			}
			earliest(time.Hour)
			time.Sleep(30 * time.Minute)
			tr.anchors.Store(anchorsOf(t, after))
			if told {
				proxy.JudgePeers(p)
			}
			time.Sleep(31 * time.Minute)
			synctest.Wait()
			if len(p.Sessions()) != 1 {
				t.Fatalf("told %v: the session ended with the old root", told)
			}
			earliest(3 * time.Hour)
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			if len(p.Sessions()) != 0 {
				t.Error("the session goes on after the leaf's end")
			}
			time.Sleep(2 * time.Second) // the agent is cut off
		})
	}
}

// expiry is the metric of the certificate that ends first.
func expiry(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "sallyport_proxy_peer_certificate_expiry_timestamp_seconds" {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("no metric")
	return 0
}

// What a session costs while nothing happens: counted, since there are thousands.
func TestSessionsAreCheap(t *testing.T) {
	const n = 10000
	root := authority(t, time.Now(), time.Hour)
	leaf := agentOf(t, root, time.Now(), time.Hour)
	tr := trusting(anchorsOf(t, filesOf(t, root)))
	cfg := testenv.ProxyConfig()
	cfg.MaxSessionsPerIdentity = n
	p, err := proxy.New(cfg, proxy.Parts{
		Policy: yes{}, Audit: discard{}, Trust: tr, ScrapeTrust: tr, Self: func() authz.ProxyInput { return authz.ProxyInput{} },
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	peer := prove(t, tr.anchors.Load(), leaf)
	goroutines := runtime.NumGoroutine()
	before := heap()
	for i := range n {
		if err := proxy.Hold(p, peer, &namelessConn{i: i}, func(*tunnelv1.ProxyMessage) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	each := (heap() - before) / n
	began := time.Now()
	proxy.JudgePeers(p)
	took := time.Since(began)
	t.Logf("%d bytes a session, its timer included; judging %d took %s", each, n, took)
	if grown := runtime.NumGoroutine() - goroutines; grown > 10 || each > 4096 {
		t.Errorf("%d goroutines more, %d bytes a session", grown, each)
	}
	if took > 2*time.Second {
		t.Errorf("judging took %s", took)
	}
	runtime.KeepAlive(p)
	tr.anchors.Store(anchorsOf(t, filesOf(t, authority(t, time.Now(), time.Hour))))
	proxy.JudgePeers(p) // ends them, and their timers
	if n := len(p.Sessions()); n != 0 {
		t.Errorf("%d sessions left", n)
	}
}

type discard struct{}

func (discard) Record(authz.Event) {}

// namelessConn is a connection that nothing comes over.
type namelessConn struct {
	net.Conn
	i int
}

func (*namelessConn) Close() error { return nil }

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// An agent that no anchors can be asked about is not admitted.
func TestNoAnchorsNoSession(t *testing.T) {
	root := authority(t, time.Now(), time.Hour)
	leaf := agentOf(t, root, time.Now(), time.Hour)
	peer := prove(t, anchorsOf(t, filesOf(t, root)), leaf)
	p, _ := bareProxy(t, &trust{})
	err := proxy.Hold(p, peer, &namelessConn{}, func(*tunnelv1.ProxyMessage) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "none yet") || len(p.Sessions()) != 0 {
		t.Errorf("admitted: %v", err)
	}
}
