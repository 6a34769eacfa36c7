package authn_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv/workload"
)

// scrapeFiles writes what the scrape side has of its own.
func scrapeFiles(t *testing.T, leaf *pki.Leaf, anchors *pki.CA) authn.ScrapeConfig {
	t.Helper()
	var cfg authn.ScrapeConfig
	dir := t.TempDir()
	if leaf != nil {
		cfg.CertFile, cfg.KeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		write(t, cfg.CertFile, leaf.CertPEM(), 0o600)
		write(t, cfg.KeyFile, keyPEM(t, leaf), 0o600)
	}
	if anchors != nil {
		cfg.CAFile = filepath.Join(dir, "ca.pem")
		write(t, cfg.CAFile, anchors.CertPEM(), 0o600)
	}
	return cfg
}

func webLeaf(t *testing.T, ca *pki.CA) *pki.Leaf {
	return issue(t, ca, pki.Request{Role: pki.Proxy, DNSNames: []string{"proxy.example.org", "proxy"}})
}

func TestScrapeSideOverFiles(t *testing.T) {
	t.Parallel()
	ca, web := newCA(t, pki.CAConfig{TrustDomain: domain}), newCA(t, pki.CAConfig{TrustDomain: domain})
	scraper := chainOf(t, issue(t, web, pki.Request{Role: pki.Scraper, DNSNames: []string{"prometheus"}}))
	agent := chainOf(t, agentLeaf(t, ca))
	tunnel := files(t, authn.Server, proxyLeaf(t, ca), ca)
	for _, test := range []struct {
		name                 string
		leaf                 *pki.Leaf
		anchors              *pki.CA
		takesScraper, agents bool
	}{
		{"key pair", webLeaf(t, web), nil, false, true},
		{"anchors", nil, web, true, false},
		{"both", webLeaf(t, web), web, true, false},
	} {
		source, err := authn.NewScrape(tunnel, scrapeFiles(t, test.leaf, test.anchors), discard())
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		m := material(t, source)
		if got := m.Certificate == material(t, tunnel).Certificate; got != (test.leaf == nil) {
			t.Errorf("%s: has the tunnel's certificate: %t", test.name, got)
		}
		if n := source.Health().Rotations; n != 0 {
			t.Errorf("%s: %d rotations at the start", test.name, n)
		}
		if m.TrustDomain != domain {
			t.Errorf("%s: trust domain is %q", test.name, m.TrustDomain)
		}
		if _, err := m.Verify(scraper, authn.Client); (err == nil) != test.takesScraper {
			t.Errorf("%s: scraper: %v", test.name, err)
		}
		if _, err := m.Verify(agent, authn.Client); (err == nil) != test.agents {
			t.Errorf("%s: agent: %v", test.name, err)
		}
	}
}

func TestScrapeSideThatDoesNotStart(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	tunnel := files(t, authn.Server, proxyLeaf(t, ca), ca)
	missing := scrapeFiles(t, nil, ca)
	missing.CAFile += "x"
	for _, test := range []struct {
		name string
		cfg  authn.ScrapeConfig
		says string
	}{
		{"half", authn.ScrapeConfig{CertFile: "a"}, "SALLYPORT_SCRAPE_TLS_KEY_FILE"},
		{"missing", missing, "SALLYPORT_SCRAPE_TLS_CA_FILE"},
		{"an agent's", scrapeFiles(t, agentLeaf(t, ca), nil), "SALLYPORT_SCRAPE_TLS_CERT_FILE"},
		{"the demo's", scrapeFiles(t, nil, newCA(t, pki.CAConfig{Demo: true})), "demo"},
	} {
		if _, err := authn.NewScrape(tunnel, test.cfg, discard()); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want it to say %q", test.name, err, test.says)
		}
	}
}

func TestScrapeSideFollows(t *testing.T) {
	t.Parallel()
	ca, web := newCA(t, pki.CAConfig{TrustDomain: domain}), newCA(t, pki.CAConfig{})
	api := workload.Start(t)
	tunnel, err := authn.NewWorkloadAPI(authn.Config{Socket: api.Address()}, authn.Server, discard())
	if err != nil {
		t.Fatal(err)
	}
	cfg := scrapeFiles(t, webLeaf(t, web), nil)
	source, err := authn.NewScrape(tunnel, cfg, discard())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Material(); err == nil {
		t.Error("has material before the tunnel's source")
	}
	run(t, tunnel)
	run(t, source)
	set := func(anchors ...*x509.Certificate) {
		t.Helper()
		state := workload.State{SVIDs: []tls.Certificate{proxyLeaf(t, ca).TLS()}, Bundles: map[string][]*x509.Certificate{domain: anchors}}
		if err := api.Set(state); err != nil {
			t.Fatal(err)
		}
	}
	takes := func(chain []*x509.Certificate) func(*authn.Material, error) bool {
		return func(m *authn.Material, err error) bool {
			if err != nil {
				return false
			}
			_, err = m.Verify(chain, authn.Client)
			return err == nil
		}
	}
	set(ca.Certificate())
	m := until(t, source, "material", takes(chainOf(t, agentLeaf(t, ca))))
	if m.Certificate.Leaf.DNSNames[0] != "proxy.example.org" {
		t.Errorf("shows %v", m.Certificate.Leaf.DNSNames)
	}
	next := newCA(t, pki.CAConfig{TrustDomain: domain})
	set(ca.Certificate(), next.Certificate())
	until(t, source, "new bundle", takes(chainOf(t, agentLeaf(t, next))))
	leaf := webLeaf(t, web)
	write(t, cfg.CertFile, leaf.CertPEM(), 0o600)
	write(t, cfg.KeyFile, keyPEM(t, leaf), 0o600)
	until(t, source, "new file", func(m *authn.Material, err error) bool {
		return err == nil && m.Certificate.Leaf.Equal(leaf.Certificate())
	})
}

// The scrape side takes the tunnel's anchors and CRLs also while the tunnel's own
// certificate has expired: with its own certificate it serves on, without one it
// still judges who is there.
func TestScrapeSideFollowsAnExpiredTunnel(t *testing.T) {
	t.Parallel()
	dirs := []string{t.TempDir(), t.TempDir()}
	crlsInTime(t, func(t *testing.T, file string, ca *pki.CA, tunnel *authn.Files, _ *book) {
		web := webLeaf(t, ca)
		own := authn.ScrapeConfig{CertFile: filepath.Join(dirs[0], "cert.pem"), KeyFile: filepath.Join(dirs[0], "key.pem")}
		write(t, own.CertFile, web.CertPEM(), 0o600)
		write(t, own.KeyFile, keyPEM(t, web), 0o600)
		borrowed := authn.ScrapeConfig{CAFile: filepath.Join(dirs[1], "ca.pem")}
		write(t, borrowed.CAFile, ca.CertPEM(), 0o600)
		put(t, filepath.Dir(file), issue(t, ca, pki.Request{Role: pki.Proxy, SPIFFEID: prxyID, NotAfter: time.Now().Add(time.Minute)}), ca)
		polled(1)
		leaf := issue(t, ca, pki.Request{Role: pki.Scraper, DNSNames: []string{"prometheus"}})
		live := verified(t, anchorsOf(t, tunnel), leaf)
		var sides []*authn.Scrape
		for _, cfg := range []authn.ScrapeConfig{own, borrowed} {
			side, err := authn.NewScrape(tunnel, cfg, discard())
			if err != nil {
				t.Fatal(err)
			}
			run(t, side)
			sides = append(sides, side)
		}
		time.Sleep(2 * time.Minute)
		write(t, file, newCRL(t, ca, time.Now(), time.Now().Add(time.Hour), leaf.Certificate().SerialNumber), 0o600)
		polled(2)
		for i, serves := range []bool{true, false} {
			health := sides[i].Health()
			if (health.Material == nil) != serves || !health.Up || health.CRLNextUpdate.IsZero() {
				t.Errorf("side %d: health %+v", i, health)
			}
			if _, err := anchorsOf(t, sides[i]).Judge(live); authn.ReasonOf(err) != authn.Revoked {
				t.Errorf("side %d: a revoked peer: %v", i, err)
			}
		}
	})
}

// late is a tunnel's source that has nothing at first.
type late struct {
	mu       sync.Mutex
	material *authn.Material
	changed  chan struct{}
}

func (l *late) Material() (*authn.Material, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.material == nil {
		return nil, errors.New("nothing yet")
	}
	return l.material, nil
}

func (l *late) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *late) come(m *authn.Material) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.material = m
	close(l.changed)
	l.changed = make(chan struct{})
}

// What kept the tunnel's material from being taken over is past when new files go
// with it.
func TestScrapeSideIsWellAgain(t *testing.T) {
	t.Parallel()
	dirs := []string{t.TempDir(), t.TempDir()}
	bubble(t, func(t *testing.T) {
		ca := newCA(t, pki.CAConfig{TrustDomain: domain})
		base, err := authn.NewFiles(put(t, dirs[0], proxyLeaf(t, ca), ca), authn.Server, discard())
		if err != nil {
			t.Fatal(err)
		}
		cfg := authn.ScrapeConfig{CertFile: filepath.Join(dirs[1], "cert.pem"), KeyFile: filepath.Join(dirs[1], "key.pem")}
		renew := func(life time.Duration) {
			leaf := issue(t, ca, pki.Request{Role: pki.Proxy, DNSNames: []string{"proxy"}, NotAfter: time.Now().Add(life)})
			write(t, cfg.CertFile, leaf.CertPEM(), 0o600)
			write(t, cfg.KeyFile, keyPEM(t, leaf), 0o600)
		}
		renew(time.Minute)
		tunnel := &late{changed: make(chan struct{})}
		source, err := authn.NewScrape(tunnel, cfg, discard())
		if err != nil {
			t.Fatal(err)
		}
		run(t, source)
		time.Sleep(2 * time.Minute)
		tunnel.come(material(t, base))
		synctest.Wait()
		if health := source.Health(); health.Up || !strings.Contains(health.Cause, "expired") {
			t.Fatalf("with an expired certificate: %+v", health)
		}
		renew(time.Hour)
		polled(3)
		if health := source.Health(); !health.Up || health.Material != nil {
			t.Errorf("with a new one: %+v", health)
		}
	})
}
