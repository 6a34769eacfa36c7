package testenv

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv/workload"
)

// Trust is the Workload API of a world's proxy: what it tells the proxy of itself,
// and of whom to believe.
type Trust struct {
	w      *World
	server *workload.Server

	mu    sync.Mutex
	state workload.State
}

func newTrust(w *World, proxy *pki.Leaf) *Trust {
	w.TB.Helper()
	t := &Trust{w: w, server: workload.Start(w.TB), state: workload.State{
		SVIDs:   []tls.Certificate{proxy.TLS()},
		Bundles: make(map[string][]*x509.Certificate),
	}}
	t.Believe(TrustDomain, w.CA)
	return t
}

// Believe makes these the authorities of a trust domain; none: there are no more.
func (t *Trust) Believe(domain string, authorities ...*pki.CA) {
	t.w.TB.Helper()
	t.Change(func(state *workload.State) {
		delete(state.Bundles, domain)
		for _, ca := range authorities {
			state.Bundles[domain] = append(state.Bundles[domain], ca.Certificate())
		}
	})
}

// Change changes what the Workload API says.
func (t *Trust) Change(change func(*workload.State)) {
	t.w.TB.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.state)
	state := t.state
	state.SVIDs = slices.Clone(state.SVIDs)
	if err := t.server.Set(state); err != nil {
		t.w.TB.Fatal(err)
	}
}

// config is the proxy's.
func (t *Trust) config(domains authn.TrustDomains) authn.Config {
	return authn.Config{Socket: t.server.Address(), TrustDomains: domains, JWTBundles: true}
}
