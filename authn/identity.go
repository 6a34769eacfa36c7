package authn

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Kind is how an identity was proved.
type Kind uint8

// The zero Kind is nobody's.
const (
	Nobody Kind = iota
	// SPIFFE is an X.509 SVID, whatever source the anchors came from.
	SPIFFE
	// DNS is a certificate with one DNS name and no SPIFFE ID, in files mode.
	DNS
	// JWT is a bearer token.
	JWT
	// Anonymous is a scraper without a credential, where none is needed.
	Anonymous
)

// String returns the word that policies see.
func (k Kind) String() string {
	switch k {
	case SPIFFE:
		return "spiffe"
	case DNS:
		return "dns"
	case JWT:
		return "jwt"
	case Anonymous:
		return "anonymous"
	default:
		return ""
	}
}

const (
	spiffeScheme = "spiffe://"
	// The SPIFFE ID specification, sections 2.1 and 2.3.
	maxSPIFFEID    = 2048
	maxTrustDomain = 255
	// RFC 1035, section 2.3.4, without the trailing dot.
	maxDNSName  = 253
	maxDNSLabel = 63
)

// Identity is what a finished handshake proved. It is comparable, and its zero
// value is nobody.
type Identity struct {
	kind Kind
	name string
}

// SPIFFEIdentity is the identity of a workload. A bare trust domain is no
// workload; an ID over 2048 bytes or a trust domain over 255 is none at all.
func SPIFFEIdentity(id spiffeid.ID) (Identity, error) {
	switch {
	case id.IsZero():
		return Identity{}, errors.New("empty SPIFFE ID")
	case len(id.String()) > maxSPIFFEID:
		return Identity{}, fmt.Errorf("SPIFFE ID of %d bytes, at most %d are allowed", len(id.String()), maxSPIFFEID)
	case len(id.TrustDomain().Name()) > maxTrustDomain:
		return Identity{}, fmt.Errorf("trust domain of %d bytes, at most %d are allowed", len(id.TrustDomain().Name()), maxTrustDomain)
	case id.Path() == "":
		return Identity{}, fmt.Errorf("SPIFFE ID %s has no path: it names a trust domain, not a workload", id)
	}
	return Identity{kind: SPIFFE, name: id.String()}, nil
}

// DNSIdentity is the identity of a peer in files mode. The name must be plain:
// lower-case letters, digits, hyphens and dots, no wildcard, no address, no
// trailing dot, at most 253 bytes. Anything else is refused, never normalised.
func DNSIdentity(name string) (Identity, error) {
	if len(name) == 0 || len(name) > maxDNSName {
		return Identity{}, fmt.Errorf("DNS name of %d bytes, 1 to %d are allowed", len(name), maxDNSName)
	}
	for label := range strings.SplitSeq(name, ".") {
		if !plainLabel(label) {
			return Identity{}, fmt.Errorf("DNS name %.64q is not made of lower-case letters, digits and hyphens", name)
		}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return Identity{}, fmt.Errorf("DNS name %q is an address", name)
	}
	return Identity{kind: DNS, name: name}, nil
}

func plainLabel(label string) bool {
	if len(label) == 0 || len(label) > maxDNSLabel || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// JWTIdentity is that of a workload which showed a JWT-SVID. It is another than the
// one that its certificate proves.
func JWTIdentity(id spiffeid.ID) (Identity, error) {
	identity, err := SPIFFEIdentity(id)
	if err != nil {
		return Identity{}, err
	}
	identity.kind = JWT
	return identity, nil
}

// AnonymousIdentity is that of a scraper which needs no credential.
func AnonymousIdentity() Identity { return Identity{kind: Anonymous} }

// Kind says how the identity was proved.
func (i Identity) Kind() Kind { return i.kind }

// IsZero reports whether this is nobody.
func (i Identity) IsZero() bool { return i == Identity{} }

// String returns the SPIFFE ID or the DNS name, "" for the anonymous and nobody.
func (i Identity) String() string { return i.name }

// TrustDomain returns the trust domain's name, "" where there is none.
func (i Identity) TrustDomain() string {
	if i.kind != SPIFFE && i.kind != JWT {
		return ""
	}
	domain, _, _ := strings.Cut(i.name[len(spiffeScheme):], "/")
	return domain
}

// Segments returns the segments of a SPIFFE ID's path, or a DNS name as the only
// one. The slice is the caller's.
func (i Identity) Segments() []string {
	switch i.kind {
	case SPIFFE, JWT:
		_, path, _ := strings.Cut(i.name[len(spiffeScheme):], "/")
		return strings.Split(path, "/")
	case DNS:
		return []string{i.name}
	default:
		return nil
	}
}
