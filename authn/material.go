package authn

import (
	"context"
	"crypto/tls"
	"fmt"
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

// Trust gives what peers are judged by, as it is now. Unlike a Source it goes on
// when our own certificate has expired: who is there already must still leave when
// its reason ends.
type Trust interface {
	// Anchors returns the current ones. The error says why there are none yet.
	Anchors() (*Anchors, error)
	// Changed is closed when Anchors may answer otherwise than it did.
	Changed() <-chan struct{}
}

// Keeper is a Source and a Trust that stays current while Run runs.
type Keeper interface {
	Source
	// Anchors is of Trust.
	Anchors() (*Anchors, error)
	// Health tells how the source is.
	Health() Health
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

	anchors *Anchors
	// requirePQ refuses every key exchange that is not post-quantum.
	requirePQ bool
}

// Anchors are what peers are judged by.
func (m *Material) Anchors() *Anchors { return m.anchors }

// certificate is nil of no material.
func (m *Material) certificate() *tls.Certificate {
	if m == nil {
		return nil
	}
	return m.Certificate
}

// NotAfter is when our own certificate ends.
func (m *Material) NotAfter() time.Time { return m.Certificate.Leaf.NotAfter }

func ownExpiry(cert *tls.Certificate, now time.Time) error {
	switch leaf := cert.Leaf; {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("own certificate expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("own certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}
