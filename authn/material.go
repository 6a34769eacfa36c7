package authn

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"
)

// The two ways anchors are had, as policies see them.
const (
	sourceFiles  = "files"
	sourceSPIFFE = "spiffe"
)

// Source gives what a handshake needs, as it is now.
type Source interface {
	// Material returns the current state. The error says why there is none (yet).
	Material() (*Material, error)
	// Changed is closed when Material may answer otherwise than it did. Ask for
	// the channel first and for the material after, then no change is missed. That
	// our own certificate expires is told by Material alone.
	Changed() <-chan struct{}
}

// Keeper is a Source that stays current while Run runs.
type Keeper interface {
	Source
	// Run returns nil when ctx is done, and all it started has ended by then.
	Run(ctx context.Context) error
}

// Material is one state of a source. It is immutable.
type Material struct {
	// Certificate is our own chain and key, with its Leaf.
	Certificate *tls.Certificate
	// Identity is our own: nobody where our certificate has several DNS names and
	// no SPIFFE ID, which only a proxy's may.
	Identity Identity
	// TrustDomain is our own, "" where there is none.
	TrustDomain string

	anchors *anchors
}

// NotAfter is when our own certificate ends.
func (m *Material) NotAfter() time.Time { return m.Certificate.Leaf.NotAfter }

// holder keeps the current material of a source and tells of changes.
type holder struct {
	mu       sync.Mutex
	material *Material
	err      error
	changed  chan struct{}
}

func newHolder(why error) *holder { return &holder{err: why, changed: make(chan struct{})} }

func (h *holder) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

func (h *holder) Material() (*Material, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.material == nil {
		return nil, h.err
	}
	if err := ownExpiry(h.material.Certificate, time.Now()); err != nil {
		if h.err != nil {
			return nil, fmt.Errorf("%w; %w", err, h.err)
		}
		return nil, err
	}
	return h.material, nil
}

// held is the material, expired or not; nil where there was none yet.
func (h *holder) held() *Material {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.material
}

// set replaces the material.
func (h *holder) set(m *Material) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.material, h.err = m, nil
	h.broadcastLocked()
}

// fault says why there is no material yet, or no newer. What there is stays.
func (h *holder) fault(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	if h.material == nil {
		h.broadcastLocked()
	}
}

func (h *holder) broadcastLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func ownExpiry(cert *tls.Certificate, now time.Time) error {
	switch leaf := cert.Leaf; {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("own certificate expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("own certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}
