// Package pki mints the certificates with which Sallyport is tried out and
// developed: a certificate authority, and leaves that name a proxy, an agent or
// a scraper. The operator's tool and the demo use it, and so do tests. The
// daemons never do: they are given certificates and cannot make any.
//
// What it makes fits what the daemons demand of a certificate: one SPIFFE ID at
// most, an extended key usage for the role, a key that only its owner can read,
// a short life. It is no authority for production: it keeps the CA's key in a
// file, revokes nothing and renews nothing.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// How long certificates live unless the caller says otherwise.
const (
	DefaultCALifetime   = 30 * 24 * time.Hour
	DefaultLeafLifetime = 24 * time.Hour
)

// skew is how far certificates are dated back, because two machines seldom
// agree on the minute.
const skew = time.Minute

const organization = "Sallyport development PKI"

// demoMark is the object identifier of the extension that the demo's CA bears.
// It lies under the enterprise number that RFC 5612 sets aside for examples, so
// no real certificate has it. The daemons know the same number; a test compares.
var demoMark = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 83, 1}

// DemoMark returns the object identifier of the extension that marks the CA of
// the demo, which the daemons refuse outside the demo.
func DemoMark() asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier(nil), demoMark...)
}

// validity fills in what the caller left open.
func validity(notBefore, notAfter time.Time, lifetime time.Duration) (time.Time, time.Time) {
	now := time.Now()
	if notBefore.IsZero() {
		notBefore = now.Add(-skew)
	}
	if notAfter.IsZero() {
		notAfter = now.Add(lifetime)
	}
	return notBefore, notAfter
}

func newSerial() (*big.Int, error) {
	// 128 random bits, as the CA/Browser Forum wants at least 64. Zero is no
	// valid serial; one in 2^128 is not worth a loop but costs one line.
	raw := make([]byte, 16)
	if _, err := rand.Read(raw); err != nil {
		return nil, fmt.Errorf("drawing serial number: %w", err)
	}
	serial := new(big.Int).SetBytes(raw)
	if serial.Sign() == 0 {
		serial.SetInt64(1)
	}
	return serial, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating key: %w", err)
	}
	return key, nil
}

func subject(commonName string) pkix.Name {
	return pkix.Name{Organization: []string{organization}, CommonName: commonName}
}

func certPEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
