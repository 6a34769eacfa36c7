package authn

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// newMaterial puts a key pair and anchors together, and refuses what no peer
// could take: an expired certificate, one of another role, a client without an
// identity. The pair that is in force already may have expired: new anchors are for
// who is there, and do not wait for a new certificate.
func newMaterial(pair *tls.Certificate, role Role, a *Anchors, current *Material) (*Material, error) {
	if current == nil || current.Certificate != pair {
		if err := ownExpiry(pair, time.Now()); err != nil {
			return nil, err
		}
	}
	if err := checkOwn(pair, role); err != nil {
		return nil, err
	}
	if err := a.refuseDemo(pair); err != nil {
		return nil, err
	}
	identity, err := ownIdentity(pair.Leaf, role)
	return &Material{Certificate: pair, Identity: identity, TrustDomain: a.domain.Name(), anchors: a}, err
}

// checkOwn judges our own key pair as far as it goes without anchors.
func checkOwn(pair *tls.Certificate, role Role) error {
	if err := checkLeaf(pair.Leaf, role); err != nil {
		return fmt.Errorf("own %w", err)
	}
	if _, err := ownIdentity(pair.Leaf, role); err != nil {
		return fmt.Errorf("own %w", err)
	}
	return nil
}

// keep returns the pair that is in force where the new one is the same: whoever
// compares sees then that only anchors changed.
func keep(current, found *tls.Certificate) *tls.Certificate {
	if current != nil && slices.EqualFunc(current.Certificate, found.Certificate, bytes.Equal) {
		return current
	}
	return found
}

// ownIdentity is ours as a peer would read it. A server may be known by several
// DNS names or an address: then it has no identity, only names.
func ownIdentity(leaf *x509.Certificate, role Role) (Identity, error) {
	identity, _, err := identityOf(leaf)
	if err != nil && role == Server && len(leaf.URIs) == 0 && len(leaf.DNSNames)+len(leaf.IPAddresses) > 0 {
		return Identity{}, nil
	}
	return identity, err
}

// ownDomain is that of our SPIFFE ID. Without one it is the only accepted domain
// that has no anchors of its own, if there is one.
func ownDomain(leaf *x509.Certificate, accepted TrustDomains, foreign map[spiffeid.TrustDomain]bundle) (spiffeid.TrustDomain, error) {
	if _, id, err := identityOf(leaf); err == nil && !id.IsZero() {
		return id.TrustDomain(), nil
	}
	var own []spiffeid.TrustDomain
	for _, domain := range accepted {
		if _, ok := foreign[domain]; !ok {
			own = append(own, domain)
		}
	}
	switch len(own) {
	case 0:
		return spiffeid.TrustDomain{}, nil
	case 1:
		return own[0], nil
	default:
		return spiffeid.TrustDomain{}, fmt.Errorf("SALLYPORT_TRUST_DOMAINS: our own certificate has no SPIFFE ID, so which of %v is our own trust domain? Give the others files in SALLYPORT_FEDERATED_CA_FILES", own)
	}
}

// refuseDemo keeps the demo's CA out of everything but the demo.
func (a *Anchors) refuseDemo(pair *tls.Certificate) error {
	if a.allowDemo {
		return nil
	}
	marked := anyMarked(a.own.certs)
	for domain, b := range a.foreign {
		// What others federate with is no reason to stop.
		marked = marked || a.accepts(domain) && anyMarked(b.certs)
	}
	for _, raw := range pair.Certificate {
		cert, err := x509.ParseCertificate(raw)
		if err != nil {
			return fmt.Errorf("parsing own chain: %w", err)
		}
		marked = marked || anyMarked([]*x509.Certificate{cert})
	}
	if marked {
		return errors.New("the demo's CA is for the demo only: make certificates with `sallyport pki`")
	}
	return nil
}

// verifyOwn judges our own chain as a peer with our anchors would.
func (m *Material) verifyOwn(role Role) error {
	var chain []*x509.Certificate
	for _, raw := range m.Certificate.Certificate {
		cert, err := x509.ParseCertificate(raw)
		if err != nil {
			return fmt.Errorf("parsing own chain: %w", err)
		}
		chain = append(chain, cert)
	}
	if m.Identity.IsZero() {
		_, err := guard(func() (*Peer, error) {
			t := trial{role: role, now: time.Now()}
			chains, err := m.anchors.chainsDNS(chain, t)
			if err != nil {
				return nil, err
			}
			return m.anchors.prove(new(Peer), chains, t)
		})
		return err
	}
	_, err := m.Verify(chain, role)
	return err
}
