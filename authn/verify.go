package authn

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// trial is what a chain is verified for.
type trial struct {
	role Role
	now  time.Time
	// live: the peer has passed a handshake with this chain, see Anchors.Judge.
	live bool
}

// Verify judges a chain (leaf first) that a peer of the given role presents,
// against these anchors and the clock as it is. An error is an *Error. It is safe
// on any certificate that crypto/x509 parses.
func (a *Anchors) Verify(certs []*x509.Certificate, role Role) (*Peer, error) {
	return guard(func() (*Peer, error) { return a.verify(certs, trial{role: role, now: time.Now()}) })
}

// Verify is that of the anchors.
func (m *Material) Verify(certs []*x509.Certificate, role Role) (*Peer, error) {
	return m.anchors.Verify(certs, role)
}

// verifyID is Verify, and the peer must be that very workload.
func (a *Anchors) verifyID(certs []*x509.Certificate, role Role, want spiffeid.ID) (*Peer, error) {
	peer, err := a.Verify(certs, role)
	if err != nil {
		return nil, err
	}
	if expected, err := SPIFFEIdentity(want); err != nil || peer.Identity != expected {
		return nil, fail(WrongPeer, fmt.Errorf("peer is %.128q, expected %q", peer.Identity, want))
	}
	return peer, nil
}

// verifyHost judges a proxy by the host name or address that was dialled. Only
// files mode knows such a proxy. Its certificate may have other names besides.
func (a *Anchors) verifyHost(certs []*x509.Certificate, host string) (*Peer, error) {
	return guard(func() (*Peer, error) { return a.verifyName(certs, host, trial{role: Server, now: time.Now()}) })
}

// guard turns a panic into a refusal. What runs inside parses what a stranger
// sent, much of it in other people's code, and a panic in a handshake would end
// every session of the process.
func guard(verify func() (*Peer, error)) (peer *Peer, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			peer, err = nil, fail(BadChain, fmt.Errorf("verifying a certificate panicked: %v", recovered))
		}
	}()
	return verify()
}

func (a *Anchors) verify(certs []*x509.Certificate, t trial) (*Peer, error) {
	if len(certs) == 0 {
		return nil, fail(NoCertificate, errors.New("peer has no certificate"))
	}
	leaf := certs[0]
	identity, id, err := identityOf(leaf)
	if err != nil {
		return nil, fail(BadIdentity, err)
	}
	if err := checkLeaf(leaf, t.role); err != nil {
		return nil, err
	}
	var chains [][]*x509.Certificate
	anchored := a.own
	switch identity.Kind() {
	case SPIFFE:
		anchored = a.of(id.TrustDomain())
		chains, err = a.chainsSPIFFE(certs, id, t.now)
	case DNS:
		chains, err = a.chainsDNS(certs, t)
	}
	if err != nil {
		return nil, err
	}
	return a.prove(&Peer{Identity: identity, Source: anchored.source, role: t.role, domain: id.TrustDomain(), presented: certs}, chains, t)
}

func (a *Anchors) chainsSPIFFE(certs []*x509.Certificate, id spiffeid.ID, now time.Time) ([][]*x509.Certificate, error) {
	domain := id.TrustDomain()
	if !a.accepts(domain) {
		return nil, fail(UntrustedDomain, fmt.Errorf("trust domain %.255q is not accepted: SALLYPORT_TRUST_DOMAINS does not name it", domain.Name()))
	}
	if len(a.of(domain).certs) == 0 {
		return nil, fail(UnknownAuthority, fmt.Errorf("no anchors for trust domain %.255q", domain.Name()))
	}
	verified, chains, err := x509svid.Verify(certs, a, x509svid.WithTime(now))
	if err != nil {
		return nil, fail(chainReason(err), err)
	}
	if verified != id {
		return nil, fail(BadIdentity, errors.New("SPIFFE ID is ambiguous"))
	}
	return chains, nil
}

func (a *Anchors) chainsDNS(certs []*x509.Certificate, t trial) ([][]*x509.Certificate, error) {
	if !a.acceptsDNS() {
		return nil, fail(BadIdentity, errors.New("certificate has no SPIFFE ID"))
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{
		Roots:         a.own.pool(),
		Intermediates: bundle{certs: certs[1:]}.pool(),
		CurrentTime:   t.now,
		KeyUsages:     []x509.ExtKeyUsage{t.role.extKeyUsage()},
	})
	if err != nil {
		return nil, fail(chainReason(err), fmt.Errorf("verifying certificate: %w", err))
	}
	return chains, nil
}

func (a *Anchors) verifyName(certs []*x509.Certificate, host string, t trial) (*Peer, error) {
	if len(certs) == 0 {
		return nil, fail(NoCertificate, errors.New("peer has no certificate"))
	}
	if err := checkLeaf(certs[0], t.role); err != nil {
		return nil, err
	}
	chains, err := a.chainsDNS(certs, t)
	if err != nil {
		return nil, err
	}
	if err := certs[0].VerifyHostname(host); err != nil {
		return nil, fail(WrongPeer, err)
	}
	return a.prove(&Peer{Identity: Identity{kind: DNS, name: host}, Source: a.own.source, role: t.role, presented: certs}, chains, t)
}

// identityOf reads the one name that a certificate may be known by.
func identityOf(leaf *x509.Certificate) (Identity, spiffeid.ID, error) {
	names, err := readNames(leaf)
	if err != nil {
		return Identity{}, spiffeid.ID{}, err
	}
	switch {
	case len(names.uris) > 1:
		return Identity{}, spiffeid.ID{}, fmt.Errorf("certificate has %d URI names, exactly one is allowed", len(names.uris))
	case len(names.uris) == 1:
		return readSPIFFE(names.uris[0])
	case len(names.dns) == 1:
		identity, err := DNSIdentity(names.dns[0])
		return identity, spiffeid.ID{}, err
	case len(names.dns) > 1:
		return Identity{}, spiffeid.ID{}, fmt.Errorf("certificate has no SPIFFE ID and %d DNS names, exactly one is allowed", len(names.dns))
	default:
		return Identity{}, spiffeid.ID{}, errors.New("certificate has neither a SPIFFE ID nor a DNS name")
	}
}

func readSPIFFE(uri string) (Identity, spiffeid.ID, error) {
	if len(uri) > maxSPIFFEID {
		return Identity{}, spiffeid.ID{}, fmt.Errorf("URI name of %d bytes, at most %d are allowed", len(uri), maxSPIFFEID)
	}
	id, err := spiffeid.FromString(uri)
	if err != nil {
		return Identity{}, spiffeid.ID{}, fmt.Errorf("reading SPIFFE ID %.128q: %w", uri, err)
	}
	identity, err := SPIFFEIdentity(id)
	return identity, id, err
}

// prove gives the peer the chain that lasts longest: an old root beside its
// cross-signed successor must not end a session early.
func (a *Anchors) prove(peer *Peer, chains [][]*x509.Certificate, t trial) (*Peer, error) {
	var last error = fail(BadChain, errors.New("no chain"))
	for _, chain := range chains {
		if err := a.checkChain(chain, t); err != nil {
			last = err
			continue
		}
		if end := earliestEnd(chain); peer.Chain == nil || end.After(peer.NotAfter) {
			peer.Chain, peer.NotAfter = chain, end
		}
	}
	if peer.Chain == nil {
		return nil, last
	}
	return peer, nil
}

// checkChain is what path building leaves out. It holds an intermediate to the
// purposes it was restricted to, which x509svid.Verify does not look at, and asks
// what has been revoked.
func (a *Anchors) checkChain(chain []*x509.Certificate, t trial) error {
	if !a.allowDemo && anyMarked(chain) {
		return fail(DemoAuthority, errors.New("certificate was issued by the demo's CA"))
	}
	for _, cert := range chain[1:] {
		if restrictsUsage(cert) && !slices.Contains(cert.ExtKeyUsage, t.role.extKeyUsage()) && !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny) {
			return fail(WrongPurpose, fmt.Errorf("an authority in the chain may not vouch for %s", t.role))
		}
	}
	return a.crls.check(chain, t)
}

func earliestEnd(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, cert := range chain[1:] {
		if cert.NotAfter.Before(end) {
			end = cert.NotAfter
		}
	}
	return end
}
