package authn

import (
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Anchors are what peers are judged by: trust anchors and what revokes their
// certificates. They are kept apart per trust domain: in one pool the CA of one
// domain could mint identities of another. Immutable, and of use even where our own
// certificate has expired.
type Anchors struct {
	// domain is our own; zero in files mode where nothing names one.
	domain spiffeid.TrustDomain
	// own are the anchors of our own domain. In files mode they vouch for DNS
	// names too, which belong to no domain.
	own bundle
	// foreign are other domains' anchors.
	foreign map[spiffeid.TrustDomain]bundle
	// accepted are the domains whose peers we take, sorted. Having anchors is not
	// enough: the Workload API federates with whom its operator likes.
	accepted  []spiffeid.TrustDomain
	allowDemo bool
	// crls are nil where none are configured.
	crls *crls
	// tokens are the keys of JWT-SVIDs, nil where nobody asked for them.
	tokens *jwtbundle.Set
}

type bundle struct {
	certs  []*x509.Certificate
	source string
}

func (a *Anchors) of(domain spiffeid.TrustDomain) bundle {
	if domain == a.domain {
		return a.own
	}
	return a.foreign[domain]
}

// accepts reports whether peers of the domain are taken at all.
func (a *Anchors) accepts(domain spiffeid.TrustDomain) bool {
	return slices.Contains(a.accepted, domain)
}

// acceptsDNS reports whether a DNS name can be an identity here.
func (a *Anchors) acceptsDNS() bool {
	return a.own.source == sourceFiles && (a.domain.IsZero() || a.accepts(a.domain))
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (a *Anchors) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	found := a.of(domain)
	if domain.IsZero() || len(found.certs) == 0 {
		return nil, fmt.Errorf("no anchors for trust domain %q", domain.Name())
	}
	return x509bundle.FromX509Authorities(domain, found.certs), nil
}

// pool is never nil, and never the system's.
func (b bundle) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range b.certs {
		pool.AddCert(cert)
	}
	return pool
}

func (b bundle) equal(other bundle) bool {
	return b.source == other.source && slices.EqualFunc(b.certs, other.certs, (*x509.Certificate).Equal)
}

func (a *Anchors) equal(other *Anchors) bool {
	if a.domain != other.domain || !a.own.equal(other.own) || len(a.foreign) != len(other.foreign) || !slices.Equal(a.accepted, other.accepted) {
		return false
	}
	for domain, b := range a.foreign {
		if o, ok := other.foreign[domain]; !ok || !b.equal(o) {
			return false
		}
	}
	return true
}

// acceptedDomains resolves the default: our own domain only.
func acceptedDomains(configured TrustDomains, own spiffeid.TrustDomain) []spiffeid.TrustDomain {
	accepted := slices.Clone(configured)
	if len(accepted) == 0 && !own.IsZero() {
		accepted = TrustDomains{own}
	}
	slices.SortFunc(accepted, spiffeid.TrustDomain.Compare)
	return slices.Compact(accepted)
}
