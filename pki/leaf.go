package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Request says what a leaf is to be.
type Request struct {
	// Role is required.
	Role Role
	// SPIFFEID becomes the only URI name, such as "spiffe://example.org/team-a/node".
	// It must lie in the authority's trust domain. Empty: none, and then there
	// must be a DNS name, exactly one for an agent or a scraper.
	SPIFFEID string
	// DNSNames and IPs are where a proxy is reached.
	DNSNames []string
	IPs      []net.IP
	// NotBefore is by default a minute ago. NotAfter is by default
	// DefaultLeafLifetime from now, or when the authority expires if that is
	// sooner.
	NotBefore, NotAfter time.Time
	// Template, if set, has the last word on the certificate before it is
	// signed. With it a test makes certificates that nobody should have: two
	// SPIFFE IDs, one of a foreign trust domain, no key usage.
	Template func(*x509.Certificate)
}

// Leaf is a certificate with its key and the intermediates that it needs.
type Leaf struct {
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate // leaf first, root left out
}

// Issue signs a leaf with a new key.
func (ca *CA) Issue(req Request) (*Leaf, error) {
	template, err := ca.template(req)
	if err != nil {
		return nil, err
	}
	if req.Template != nil {
		req.Template(template)
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("signing certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing certificate: %w", err)
	}
	return &Leaf{key: key, chain: append([]*x509.Certificate{cert}, ca.above...)}, nil
}

func (ca *CA) template(req Request) (*x509.Certificate, error) {
	usage, err := req.Role.usage()
	if err != nil {
		return nil, err
	}
	uris, err := ca.names(req)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	notBefore, notAfter := validity(req.NotBefore, req.NotAfter, DefaultLeafLifetime)
	if req.NotAfter.IsZero() && notAfter.After(ca.cert.NotAfter) {
		notAfter = ca.cert.NotAfter
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               subject(req.Role.String()), // for people; nothing reads it
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{usage},
		BasicConstraintsValid: true,
		URIs:                  uris,
		DNSNames:              req.DNSNames,
		IPAddresses:           req.IPs,
	}, nil
}

// names checks who the leaf will claim to be and returns its URI names.
func (ca *CA) names(req Request) ([]*url.URL, error) {
	if req.SPIFFEID == "" {
		switch {
		case len(req.DNSNames) == 0:
			return nil, errors.New("a certificate needs a SPIFFE ID or a DNS name")
		case req.Role != Proxy && len(req.DNSNames) > 1:
			return nil, fmt.Errorf("without a SPIFFE ID the %v is its DNS name, so it has exactly one", req.Role)
		}
		return nil, nil
	}
	id, err := spiffeid.FromString(req.SPIFFEID)
	if err != nil {
		return nil, fmt.Errorf("parsing SPIFFE ID %q: %w", req.SPIFFEID, err)
	}
	switch {
	case id.Path() == "":
		return nil, fmt.Errorf("SPIFFE ID %q names a trust domain and nobody in it", id)
	case !id.MemberOf(ca.domain):
		return nil, fmt.Errorf("SPIFFE ID %q is not in the CA's trust domain %q", id, ca.domain.Name())
	}
	return []*url.URL{id.URL()}, nil
}

// Certificate returns the leaf's certificate. The caller must not change it.
func (l *Leaf) Certificate() *x509.Certificate { return l.chain[0] }

// CertPEM returns the chain in PEM: the leaf first, then its intermediates.
func (l *Leaf) CertPEM() []byte { return certPEM(l.chain...) }

// KeyPEM returns the key in PEM, PKCS#8.
func (l *Leaf) KeyPEM() ([]byte, error) { return keyPEM(l.key) }

// Key returns the private key.
func (l *Leaf) Key() *ecdsa.PrivateKey { return l.key }

// TLS returns the chain and its key as crypto/tls wants them.
func (l *Leaf) TLS() tls.Certificate {
	cert := tls.Certificate{PrivateKey: l.key, Leaf: l.chain[0]}
	for _, c := range l.chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert
}
