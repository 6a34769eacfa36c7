package authn

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// Role is a side of a handshake.
type Role uint8

// The zero Role is none and proves nothing.
const (
	// Client dials: an agent or a scraper.
	Client Role = iota + 1
	// Server listens: the proxy.
	Server
)

// String names the role as its extended key usage does.
func (r Role) String() string {
	switch r {
	case Client:
		return "clientAuth"
	case Server:
		return "serverAuth"
	default:
		return "none"
	}
}

// extKeyUsage of no role is one that no certificate has.
func (r Role) extKeyUsage() x509.ExtKeyUsage {
	switch r {
	case Client:
		return x509.ExtKeyUsageClientAuth
	case Server:
		return x509.ExtKeyUsageServerAuth
	default:
		return x509.ExtKeyUsage(-1)
	}
}

// checkLeaf is what path building leaves out: the leaf may shake hands, in this
// role, and sign nothing else. Where it has extended usages, its role must be
// among them by name.
func checkLeaf(leaf *x509.Certificate, role Role) error {
	const signing = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	switch {
	case role != Client && role != Server:
		return fail(WrongPurpose, errors.New("no role to verify a certificate for"))
	case leaf.IsCA || leaf.KeyUsage&signing != 0:
		return fail(WrongPurpose, errors.New("certificate is an authority's"))
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fail(WrongPurpose, errors.New("certificate lacks the key usage digitalSignature"))
	case restrictsUsage(leaf) && !slices.Contains(leaf.ExtKeyUsage, role.extKeyUsage()):
		return fail(WrongPurpose, fmt.Errorf("certificate lacks the extended key usage %s", role))
	}
	return nil
}

func restrictsUsage(cert *x509.Certificate) bool {
	return len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) > 0
}
