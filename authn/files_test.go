package authn_test

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

func TestFilesThatDoNotStart(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	other := newCA(t, pki.CAConfig{TrustDomain: "partner.example"})
	leaf := agentLeaf(t, ca)
	hour := time.Hour
	overwrite := func(path func(authn.Config) string, text string) func(*testing.T, *authn.Config) {
		return func(t *testing.T, cfg *authn.Config) { write(t, path(*cfg), []byte(text), 0o600) }
	}
	cert := func(c authn.Config) string { return c.CertFile }
	key := func(c authn.Config) string { return c.KeyFile }
	anchors := func(c authn.Config) string { return c.CAFile }
	mode := func(mode os.FileMode) func(*testing.T, *authn.Config) {
		return func(t *testing.T, cfg *authn.Config) { write(t, cfg.KeyFile, keyPEM(t, leaf), mode) }
	}
	whole := string(leaf.CertPEM())
	for _, test := range []struct {
		name   string
		leaf   *pki.Leaf
		role   authn.Role
		change func(*testing.T, *authn.Config)
		says   string // "" for a good one
	}{
		{"good", leaf, authn.Client, nil, ""},
		{"key of the group", leaf, authn.Client, mode(0o640), ""},
		{"key of everybody", leaf, authn.Client, mode(0o644), "SALLYPORT_TLS_KEY_FILE"},
		{"key that everybody may write", leaf, authn.Client, mode(0o602), "SALLYPORT_TLS_KEY_FILE"},
		{"no certificate file", leaf, authn.Client, func(_ *testing.T, c *authn.Config) { c.CertFile += "x" }, "SALLYPORT_TLS_CERT_FILE"},
		{"a folder", leaf, authn.Client, func(_ *testing.T, c *authn.Config) { c.CAFile = filepath.Dir(c.CAFile) }, "no regular file"},
		{"no certificate in it", leaf, authn.Client, overwrite(cert, "hello"), "no certificate"},
		{"certificate cut short", leaf, authn.Client, overwrite(cert, whole[:len(whole)/2]), "cut short"},
		{"no key in it", leaf, authn.Client, overwrite(key, whole), "SALLYPORT_TLS_KEY_FILE"},
		{"empty anchors", leaf, authn.Client, overwrite(anchors, ""), "SALLYPORT_TLS_CA_FILE"},
		{"comments for anchors", leaf, authn.Client, overwrite(anchors, "# none yet\n"), "SALLYPORT_TLS_CA_FILE"},
		{"a leaf for an anchor", leaf, authn.Client, overwrite(anchors, whole), "no authority"},
		{"second anchor cut short", leaf, authn.Client, overwrite(anchors, string(ca.CertPEM())+string(ca.CertPEM()[:100])), "cut short"},
		{"huge anchors", leaf, authn.Client, overwrite(anchors, strings.Repeat("#", 5<<20)), "larger"},
		{"another key", leaf, authn.Client, overwrite(key, string(keyPEM(t, agentLeaf(t, ca)))), "SALLYPORT_TLS_KEY_FILE"},
		{"expired", issue(t, ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID, NotBefore: time.Now().Add(-2 * hour), NotAfter: time.Now().Add(-hour)}), authn.Client, nil, "own certificate expired at"},
		{"not yet valid", issue(t, ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID, Template: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(hour) }}), authn.Client, nil, "own certificate is not valid before"},
		{"an agent's for the proxy", leaf, authn.Server, nil, "serverAuth"},
		{"a proxy's for an agent", proxyLeaf(t, ca), authn.Client, nil, "clientAuth"},
		{"several names for the proxy", issue(t, ca, pki.Request{Role: pki.Proxy, DNSNames: []string{"a", "b"}, IPs: []net.IP{net.IPv4(10, 0, 0, 1)}}), authn.Server, nil, ""},
		{"several names for an agent", issue(t, ca, pki.Request{Role: pki.Agent, DNSNames: []string{"a"}, Template: func(c *x509.Certificate) { c.DNSNames = []string{"a", "b"} }}), authn.Client, nil, "2 DNS names"},
		{"two IDs for the proxy", issue(t, ca, pki.Request{Role: pki.Proxy, SPIFFEID: prxyID, DNSNames: []string{"a"}, Template: func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }}), authn.Server, nil, "2 URI names"},
		{"own domain federated", leaf, authn.Client, func(t *testing.T, c *authn.Config) { federate(t, c, domain, other) }, "our own trust domain"},
		{"accepted domain without anchors", leaf, authn.Client, func(_ *testing.T, c *authn.Config) { accept(c, domain, "nowhere.example") }, "nowhere.example has no anchors"},
		{"federated file is empty", leaf, authn.Client, func(t *testing.T, c *authn.Config) { federate(t, c, "partner.example") }, "SALLYPORT_FEDERATED_CA_FILES"},
		{"federated", leaf, authn.Client, func(t *testing.T, c *authn.Config) {
			federate(t, c, "partner.example", other)
			accept(c, domain, "partner.example")
		}, ""},
		{"two own domains", issue(t, ca, pki.Request{Role: pki.Agent, DNSNames: []string{"a"}}), authn.Client, func(_ *testing.T, c *authn.Config) { accept(c, domain, "nowhere.example") }, "which of"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := put(t, t.TempDir(), test.leaf, ca)
			if test.change != nil {
				test.change(t, &cfg)
			}
			_, err := authn.NewFiles(cfg, test.role, discard())
			switch {
			case test.says == "" && err != nil:
				t.Error(err)
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
				t.Errorf("%v, want it to say %q", err, test.says)
			case err != nil:
				checkSecret(t, err.Error(), test.leaf)
			}
		})
	}
}

func TestFilesTellAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	cfg := put(t, t.TempDir(), agentLeaf(t, ca), ca)
	write(t, cfg.CertFile, []byte("hello"), 0o600)
	write(t, cfg.CAFile, []byte("hello"), 0o600)
	federate(t, &cfg, "partner.example")
	federate(t, &cfg, "customer.example")
	_, err := authn.NewFiles(cfg, authn.Client, discard())
	for _, want := range []string{"SALLYPORT_TLS_CERT_FILE and", "SALLYPORT_TLS_CA_FILE: ", "partner.example", "customer.example"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to say %q", err, want)
		}
	}
	side := scrapeFiles(t, agentLeaf(t, ca), ca)
	write(t, side.CAFile, []byte("hello"), 0o600)
	_, err = authn.NewScrape(files(t, authn.Server, proxyLeaf(t, ca), ca), side, discard())
	for _, want := range []string{"SALLYPORT_SCRAPE_TLS_CERT_FILE: ", "SALLYPORT_SCRAPE_TLS_CA_FILE: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to say %q", err, want)
		}
	}
}

func federate(t *testing.T, cfg *authn.Config, name string, anchors ...*pki.CA) {
	t.Helper()
	var text []byte
	for _, ca := range anchors {
		text = append(text, ca.CertPEM()...)
	}
	path := filepath.Join(filepath.Dir(cfg.CAFile), name+".pem")
	write(t, path, text, 0o600)
	cfg.FederatedCAFiles = append(cfg.FederatedCAFiles, authn.FederatedFile{TrustDomain: spiffeid.RequireTrustDomainFromString(name), File: path})
}

func accept(cfg *authn.Config, names ...string) {
	for _, name := range names {
		cfg.TrustDomains = append(cfg.TrustDomains, spiffeid.RequireTrustDomainFromString(name))
	}
}

func TestFilesOwnTrustDomain(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	partner := newCA(t, pki.CAConfig{TrustDomain: "partner.example"})
	dns := issue(t, ca, pki.Request{Role: pki.Agent, DNSNames: []string{"agent-1"}})
	for _, test := range []struct {
		name     string
		leaf     *pki.Leaf
		accepted []string
		want     string
	}{
		{"of the SPIFFE ID", agentLeaf(t, ca), nil, domain},
		{"of the SPIFFE ID, whatever is accepted", agentLeaf(t, ca), []string{"partner.example"}, domain},
		{"none", dns, nil, ""},
		{"the one without a file", dns, []string{"partner.example", domain}, domain},
		{"none without a file", dns, []string{"partner.example"}, ""},
	} {
		cfg := put(t, t.TempDir(), test.leaf, ca)
		federate(t, &cfg, "partner.example", partner)
		accept(&cfg, test.accepted...)
		source, err := authn.NewFiles(cfg, authn.Client, discard())
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := material(t, source).TrustDomain; got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestFilesWarnings(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	cfg := put(t, t.TempDir(), agentLeaf(t, ca), ca)
	federate(t, &cfg, "partner.example", newCA(t, pki.CAConfig{TrustDomain: "partner.example"}))
	if err := os.Chmod(cfg.KeyFile, 0o640); err != nil {
		t.Fatal(err)
	}
	var log book
	if _, err := authn.NewFiles(cfg, authn.Client, log.logger()); err != nil {
		t.Fatal(err)
	}
	if n := len(log.lines("open to its group")); n != 1 {
		t.Errorf("%d warnings of the group", n)
	}
	if n := len(log.lines("SALLYPORT_TRUST_DOMAINS does not name it")); n != 1 {
		t.Errorf("%d warnings of the domain that is not accepted", n)
	}
}

// inTime runs f with a files source that is polled in fake time. The CA is made
// there, so that its validity is of that time.
func inTime(t *testing.T, f func(t *testing.T, ca *pki.CA, cfg authn.Config, source *authn.Files, log *book)) {
	dir := t.TempDir()
	bubble(t, func(t *testing.T) {
		ca := newCA(t, pki.CAConfig{TrustDomain: domain})
		cfg := put(t, dir, agentLeaf(t, ca), ca)
		var log book
		source, err := authn.NewFiles(cfg, authn.Client, log.logger())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- source.Run(ctx) }()
		f(t, ca, cfg, source, &log)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// polled lets n polls pass.
func polled(n int) {
	time.Sleep(time.Duration(n)*time.Second + 100*time.Millisecond)
	synctest.Wait()
}

func closed(changed <-chan struct{}) bool {
	select {
	case <-changed:
		return true
	default:
		return false
	}
}

func TestFilesReload(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, ca *pki.CA, cfg authn.Config, source *authn.Files, log *book) {
		first := material(t, source)
		changed := source.Changed()
		polled(3)
		if closed(changed) || material(t, source) != first {
			t.Error("a change without a change")
		}
		// The key arrives between two looks after the certificate.
		leaf := agentLeaf(t, ca)
		write(t, cfg.CertFile, leaf.CertPEM(), 0o600)
		polled(1)
		if material(t, source) != first {
			t.Error("half a pair is in force")
		}
		write(t, cfg.KeyFile, keyPEM(t, leaf), 0o600)
		polled(1)
		if m := material(t, source); !closed(changed) || !m.Certificate.Leaf.Equal(leaf.Certificate()) {
			t.Error("the new pair is not in force")
		}
		if lines := log.lines(`"WARN"`); len(lines) > 0 {
			t.Errorf("a change under way was told of: %s", lines)
		}
		if lines := log.lines("loaded"); len(lines) != 1 {
			t.Errorf("told of %d loads", len(lines))
		}
	})
}

func TestFilesKeepTheLastGoodOnes(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, ca *pki.CA, cfg authn.Config, source *authn.Files, log *book) {
		first := material(t, source)
		changed := source.Changed()
		good, err := os.ReadFile(cfg.CertFile)
		if err != nil {
			t.Fatal(err)
		}
		secret := agentLeaf(t, ca)
		expired := issue(t, ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute)})
		told := 0
		for name, spoil := range map[string]func(){
			"another key":   func() { write(t, cfg.KeyFile, keyPEM(t, secret), 0o600) },
			"open key":      func() { _ = os.Chmod(cfg.KeyFile, 0o644) },
			"no key":        func() { _ = os.Remove(cfg.KeyFile) },
			"half a key":    func() { write(t, cfg.KeyFile, keyPEM(t, secret)[:60], 0o600) },
			"empty anchors": func() { write(t, cfg.CAFile, nil, 0o600) },
			"expired": func() {
				write(t, cfg.CertFile, expired.CertPEM(), 0o600)
				write(t, cfg.KeyFile, keyPEM(t, expired), 0o600)
			},
			"half a certificate": func() { write(t, cfg.CertFile, good[:len(good)/2], 0o600) },
		} {
			key, err := os.ReadFile(cfg.KeyFile)
			if err != nil {
				t.Fatal(err)
			}
			anchors, _ := os.ReadFile(cfg.CAFile)
			spoil()
			polled(5)
			told++
			if closed(changed) || material(t, source) != first {
				t.Errorf("%s: the last good material is not in force", name)
			}
			if n := len(log.lines("cannot be used")); n != told {
				t.Errorf("%s: %d warnings in all, want %d", name, n, told)
			}
			write(t, cfg.CertFile, good, 0o600)
			write(t, cfg.KeyFile, key, 0o600)
			write(t, cfg.CAFile, anchors, 0o600)
			polled(2)
			if closed(changed) {
				t.Errorf("%s: putting it right is a change", name)
			}
			if n := len(log.lines("again those in force")); n != told {
				t.Errorf("%s: told %d times in all that it was put right, want %d", name, n, told)
			}
		}
		checkSecret(t, log.all(), secret)
		checkSecret(t, log.all(), expired)
	})
}

func TestFilesExpireInUse(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, ca *pki.CA, cfg authn.Config, source *authn.Files, _ *book) {
		put(t, filepath.Dir(cfg.CertFile), issue(t, ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID, NotAfter: time.Now().Add(time.Minute)}), ca)
		polled(2)
		time.Sleep(time.Until(material(t, source).NotAfter()) + time.Second)
		if _, err := source.Material(); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("after its end: %v", err)
		}
	})
}

// A ConfigMap or Secret is a folder of links through ..data, which is swapped.
func TestFilesFollowConfigMap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bubble(t, func(t *testing.T) {
		ca := newCA(t, pki.CAConfig{TrustDomain: domain})
		version := func(name string, leaf *pki.Leaf) {
			folder := filepath.Join(dir, name)
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			put(t, folder, leaf, ca)
			if err := os.Symlink(name, filepath.Join(dir, "..data_tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		version("..2026_01_01", agentLeaf(t, ca))
		cfg := authn.Config{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), CAFile: filepath.Join(dir, "ca.pem")}
		for _, path := range []string{cfg.CertFile, cfg.KeyFile, cfg.CAFile} {
			if err := os.Symlink(filepath.Join("..data", filepath.Base(path)), path); err != nil {
				t.Fatal(err)
			}
		}
		source, err := authn.NewFiles(cfg, authn.Client, discard())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- source.Run(ctx) }()
		next := agentLeaf(t, ca)
		version("..2026_01_02", next)
		if err := os.RemoveAll(filepath.Join(dir, "..2026_01_01")); err != nil {
			t.Fatal(err)
		}
		polled(1)
		if !material(t, source).Certificate.Leaf.Equal(next.Certificate()) {
			t.Error("the swap was not seen")
		}
		cancel()
		<-done
	})
}
