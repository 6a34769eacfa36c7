package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// CAConfig says what a certificate authority is to be. Its zero value is an
// authority of no trust domain that lives for DefaultCALifetime.
type CAConfig struct {
	// TrustDomain is the SPIFFE trust domain whose IDs it signs, such as
	// "example.org". Empty: it signs DNS names only.
	TrustDomain string
	// NotBefore is by default a minute ago, NotAfter DefaultCALifetime from now.
	NotBefore, NotAfter time.Time
	// Demo marks the certificate, so that the daemons refuse it outside the demo.
	Demo bool
}

// CA is a certificate authority with its key. It does not change, so any number
// of goroutines may issue from it.
type CA struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	domain spiffeid.TrustDomain // zero: none
	above  []*x509.Certificate  // what a leaf must carry besides itself, nearest first; empty under a root
}

// NewCA makes a self-signed authority.
func NewCA(cfg CAConfig) (*CA, error) {
	var domain spiffeid.TrustDomain
	if cfg.TrustDomain != "" {
		var err error
		if domain, err = spiffeid.TrustDomainFromString(cfg.TrustDomain); err != nil {
			return nil, fmt.Errorf("parsing trust domain: %w", err)
		}
	}
	return newCA(cfg, domain, nil)
}

// Intermediate makes an authority below this one, of the same trust domain.
// Its leaves carry its certificate with them; the trust anchor stays the root.
func (ca *CA) Intermediate(cfg CAConfig) (*CA, error) {
	return newCA(cfg, ca.domain, ca)
}

func newCA(cfg CAConfig, domain spiffeid.TrustDomain, parent *CA) (*CA, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	notBefore, notAfter := validity(cfg.NotBefore, cfg.NotAfter, DefaultCALifetime)
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               subject(caName(domain, serial.Text(16))),
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	if !domain.IsZero() {
		template.URIs = []*url.URL{domain.ID().URL()}
	}
	if cfg.Demo {
		template.ExtraExtensions = []pkix.Extension{{Id: demoMark, Value: asn1.NullBytes}}
	}
	if parent == nil {
		parent = &CA{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, &key.PublicKey, parent.key)
	if err != nil {
		return nil, fmt.Errorf("signing CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing CA certificate: %w", err)
	}
	ca := &CA{cert: cert, key: key, domain: domain}
	if parent.cert != template {
		ca.above = append([]*x509.Certificate{cert}, parent.above...)
	}
	return ca, nil
}

// caName differs between any two authorities, because a verifier finds the
// issuer by name and two of one name would send it down the wrong path.
func caName(domain spiffeid.TrustDomain, serial string) string {
	name := "CA " + serial[:min(8, len(serial))]
	if !domain.IsZero() {
		name = domain.Name() + " " + name
	}
	if len(name) > 64 { // the X.520 limit of a common name
		name = name[len(name)-64:]
	}
	return name
}

// parseCA takes up an authority that was written as PEM.
func parseCA(certificate, key []byte) (*CA, error) {
	block, _ := pem.Decode(certificate)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("parsing CA certificate: no PEM certificate found")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing CA certificate: %w", err)
	}
	block, _ = pem.Decode(key)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("parsing CA key: no PEM private key found")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("parsing CA key: not PKCS#8")
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	switch {
	case !ok:
		return nil, fmt.Errorf("parsing CA key: %T, want ECDSA", parsed)
	case !private.PublicKey.Equal(cert.PublicKey):
		return nil, errors.New("the CA's key does not match its certificate")
	case !cert.IsCA:
		return nil, errors.New("the CA's certificate is not one of an authority")
	}
	ca := &CA{cert: cert, key: private}
	if len(cert.URIs) == 1 {
		if ca.domain, err = spiffeid.TrustDomainFromURI(cert.URIs[0]); err != nil {
			return nil, fmt.Errorf("parsing the CA's trust domain: %w", err)
		}
	}
	return ca, nil
}

// Certificate returns the authority's own certificate. The caller must not
// change it.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// TrustDomain returns the name of its trust domain, or "".
func (ca *CA) TrustDomain() string { return ca.domain.Name() }

// CertPEM returns the authority's certificate in PEM. Of a root, this is the
// trust anchor.
func (ca *CA) CertPEM() []byte { return certPEM(ca.cert) }

// KeyPEM returns the authority's key in PEM, PKCS#8.
func (ca *CA) KeyPEM() ([]byte, error) { return keyPEM(ca.key) }

// Pool returns a new pool that holds the authority's certificate alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}
