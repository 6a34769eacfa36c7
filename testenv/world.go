package testenv

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/policies"
	"github.com/seed-951114d4/sallyport/proxy"
)

// TrustDomain is that of every world's own CA.
const TrustDomain = "example.org"

// Config says how a world differs from the usual one: a proxy with the identity
// /proxy and the DNS name localhost, its certificates in files, under the
// builtin policy "default".
type Config struct {
	// Policy is the Rego in force; nil: builtin:default.
	Policy fs.FS
	// Proxy may change the proxy's configuration.
	Proxy func(*proxy.Config)
	// Source, if set, is where the proxy's tunnel has its identity from.
	Source authn.Keeper
	// TrustDomains and Federated extend whom the proxy believes.
	TrustDomains authn.TrustDomains
	Federated    authn.FederatedFiles
	// CRLs are files of revocation lists that the proxy reads. CA, if set, is the
	// world's own, which may have signed them.
	CRLs []string
	CA   *pki.CA
	// Tracer makes spans of the proxy's scrapes; nil: there are none.
	Tracer trace.Tracer
	// WorkloadAPI: the proxy has its identity and its trust from there, and World has
	// Trust.
	WorkloadAPI bool
}

// World is a running system.
type World struct {
	TB    testing.TB
	CA    *pki.CA
	Proxy *Proxy
	Logs  *Logs
	Audit *Audit
	// Trust is nil without Config.WorkloadAPI.
	Trust *Trust

	log *slog.Logger
}

// Start starts a proxy; agents and scrapers are added to it.
func Start(tb testing.TB, cfg Config) *World {
	tb.Helper()
	if cfg.CA == nil {
		cfg.CA = NewCA(tb, TrustDomain)
	}
	logs := newLogs(tb)
	w := &World{TB: tb, CA: cfg.CA, Logs: logs, Audit: new(Audit), log: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if cfg.Policy == nil {
		cfg.Policy, _ = policies.Builtin("default")
	}
	w.Proxy = newProxy(w, cfg)
	w.Proxy.Start()
	return w
}

// NewCA makes an authority of a trust domain.
func NewCA(tb testing.TB, domain string) *pki.CA {
	tb.Helper()
	ca, err := pki.NewCA(pki.CAConfig{TrustDomain: domain})
	if err != nil {
		tb.Fatal(err)
	}
	return ca
}

// ID is the SPIFFE ID of a path in the world's own trust domain.
func ID(path string) string { return "spiffe://" + TrustDomain + "/" + path }

// Leaf mints a certificate of the world's own CA.
func (w *World) Leaf(req pki.Request) *pki.Leaf {
	w.TB.Helper()
	leaf, err := w.CA.Issue(req)
	if err != nil {
		w.TB.Fatal(err)
	}
	return leaf
}

// Files writes a leaf with its key and the CA's anchors where a daemon reads
// them.
func (w *World) Files(leaf *pki.Leaf, anchors *pki.CA) authn.Config {
	w.TB.Helper()
	key, err := leaf.KeyPEM()
	if err != nil {
		w.TB.Fatal(err)
	}
	dir := w.TB.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			w.TB.Fatal(err)
		}
		return path
	}
	return authn.Config{
		CertFile: write("cert.pem", leaf.CertPEM()),
		KeyFile:  write("key.pem", key),
		CAFile:   write("ca.pem", anchors.CertPEM()),
	}
}

// Eventually waits until check returns nil, for as long as a loaded machine may
// need; for conditions that nothing signals.
func Eventually(tb testing.TB, check func() error) {
	tb.Helper()
	EventuallyWithin(tb, 20*time.Second, check)
}

// EventuallyWithin is Eventually with a bound that is part of what is tested.
func EventuallyWithin(tb testing.TB, limit time.Duration, check func() error) {
	tb.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			tb.Fatalf("not within %s: %v", limit, err)
		case <-tick.C:
		}
	}
}
