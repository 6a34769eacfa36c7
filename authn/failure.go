package authn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// Reason is why a handshake failed, in a word that fits a metric label.
type Reason string

// All reasons there are. ReasonOf returns no other.
const (
	// NoCertificate: the peer has none, and one is needed.
	NoCertificate Reason = "no_certificate"
	// UnknownAuthority: no anchor of the peer's trust domain signed it.
	UnknownAuthority Reason = "unknown_authority"
	// Expired, NotYetValid: a certificate of the chain, now.
	Expired     Reason = "expired"
	NotYetValid Reason = "not_yet_valid"
	// WrongPurpose: key usages that do not allow the peer's role.
	WrongPurpose Reason = "wrong_purpose"
	// BadIdentity: not exactly one well-formed identity.
	BadIdentity Reason = "bad_identity"
	// UntrustedDomain: a trust domain that is not accepted.
	UntrustedDomain Reason = "untrusted_domain"
	// WrongPeer: a proved identity, but not the one that was expected.
	WrongPeer Reason = "wrong_peer"
	// BadChain: any other fault of the chain, such as a name constraint.
	BadChain Reason = "bad_chain"
	// DemoAuthority: the chain is the demo's.
	DemoAuthority Reason = "demo_authority"
	// Revoked: a CRL lists a certificate of the chain.
	Revoked Reason = "revoked"
	// RevocationUnknown: the CRL of an authority in the chain is out of date, not
	// yet valid, or cannot be read.
	RevocationUnknown Reason = "revocation_unknown"
	// ClassicalGroup: no post-quantum key exchange, and one is required.
	ClassicalGroup Reason = "classical_group"
	// BadToken: a bearer token that is malformed, for another audience, or wrongly
	// signed.
	BadToken Reason = "bad_token"
	// NoMaterial: we have no certificate of our own, or it has expired.
	NoMaterial Reason = "no_material"
	// Rejected: the peer refuses us.
	Rejected Reason = "rejected"
	// Overload: more handshakes under way than may be, and this one waited for its peer.
	Overload Reason = "overload"
	// Timeout: no handshake in time.
	Timeout Reason = "timeout"
	// PlainHTTP: a request without TLS.
	PlainHTTP Reason = "plain_http"
	// Protocol: not TLS, or not as we speak it.
	Protocol Reason = "protocol"
	// Disconnected: the peer went away before the end.
	Disconnected Reason = "disconnected"
)

// Error is a failed handshake. Its text is for our own logs: the peer sees no
// more than a TLS alert.
type Error struct {
	Reason Reason
	// Claim is who the peer's certificate says that it is, and ClaimEnds when that
	// certificate ends; zero where it showed none. Nothing of it is proved.
	Claim     string
	ClaimEnds time.Time
	cause     error
}

// claimed adds to err what a certificate that was refused says.
func claimed(err error, leaf *x509.Certificate) error {
	var failed *Error
	if !errors.As(err, &failed) {
		return err
	}
	names := leaf.DNSNames
	if len(leaf.URIs) > 0 {
		names = []string{leaf.URIs[0].String()}
	}
	told := *failed
	told.ClaimEnds = leaf.NotAfter
	if len(names) > 0 {
		told.Claim = strings.ToValidUTF8(names[0][:min(len(names[0]), maxClaim)], "")
	}
	return &told
}

// maxClaim is how much is kept of what a stranger calls itself, in bytes.
const maxClaim = 256

func (e *Error) Error() string {
	if e.cause == nil {
		return string(e.Reason)
	}
	text := e.cause.Error()
	if len(text) <= maxErrorText {
		return text
	}
	return strings.ToValidUTF8(text[:maxErrorText], "") + "…"
}

// maxErrorText is more than any of our own errors has. Those of crypto/x509 quote the
// names in a certificate, which are a stranger's and may be as long as a handshake
// takes, and each would fill a log with them.
const maxErrorText = 512

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

func fail(reason Reason, cause error) *Error { return &Error{Reason: reason, cause: cause} }

// ReasonOf finds the reason of any error that a handshake returned.
func ReasonOf(err error) Reason {
	var own *Error
	var alert tls.AlertError
	var remote *net.OpError
	var netErr net.Error
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &own):
		return own.Reason
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &netErr) && netErr.Timeout():
		return Timeout
	case errors.As(err, &alert), errors.As(err, &remote) && remote.Op == "remote error":
		return Rejected
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.As(err, &remote):
		return Disconnected
	case errors.As(err, &record) && isHTTP(record.RecordHeader[:]):
		return PlainHTTP
	// crypto/tls has no type for it.
	case err != nil && strings.Contains(err.Error(), "didn't provide a certificate"):
		return NoCertificate
	default:
		return Protocol
	}
}

// isHTTP recognizes the beginning of a request.
func isHTTP(begin []byte) bool {
	for _, method := range []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "CONNE", "DELET", "PATCH"} {
		if string(begin) == method {
			return true
		}
	}
	return false
}

// chainReason maps what crypto/x509 says of a chain.
func chainReason(err error) Reason {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return UnknownAuthority
	case errors.As(err, &invalid):
		switch invalid.Reason {
		case x509.Expired:
			if strings.Contains(invalid.Detail, "is before") {
				return NotYetValid
			}
			return Expired
		case x509.IncompatibleUsage:
			return WrongPurpose
		}
	}
	return BadChain
}
