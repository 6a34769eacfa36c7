package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// ending is how a scrape ended. The proxy is told the code and the reason, our
// log gets the cause: it may name addresses, a reason does not. The proxy puts
// words before the reason that say what the code means, so the reason says only
// why; in it "it" is the target.
type ending struct {
	code   tunnelv1.End_Code
	reason string
	cause  error
}

var complete = ending{code: tunnelv1.End_COMPLETE}

func badRequest(reason string) ending {
	return ending{code: tunnelv1.End_BAD_REQUEST, reason: reason}
}

func rejected(reason string) ending {
	return ending{code: tunnelv1.End_REJECTED, reason: reason}
}

// tooLarge names the limit and who set it, for that is who may raise it.
func tooLarge(limit int64, whose string) ending {
	return ending{code: tunnelv1.End_TOO_LARGE, reason: fmt.Sprintf("more than %s, %s", byteSize(limit), whose)}
}

// endingHints tell the operator what to do about a scrape that ended so.
var endingHints = map[tunnelv1.End_Code]string{
	tunnelv1.End_UNREACHABLE: "is the target running, and is its URL right?",
	tunnelv1.End_REJECTED:    "see the target's certificate, and whether its URL leads to metrics",
	tunnelv1.End_TOO_LARGE:   "raise that limit, or have the target export less",
	tunnelv1.End_TIMEOUT:     "see why the target is slow, or raise the time that scrapes get: the proxy's log says who sets it",
	tunnelv1.End_BROKEN:      "see the target's own log",
}

// endingOf is the one table from an error of a target request to what the proxy
// is told. ctx is the scrape's, begun its beginning.
func endingOf(ctx context.Context, begun time.Time, err error) ending {
	e := ending{cause: err}
	switch ctx.Err() {
	case context.DeadlineExceeded:
		e.code = tunnelv1.End_TIMEOUT
		e.reason = fmt.Sprintf("gave up after %.1fs", time.Since(begun).Seconds())
		return e
	case context.Canceled:
		e.code, e.reason = tunnelv1.End_CANCELLED, "cancelled"
		return e
	}
	var files *filesError
	var dial *net.OpError
	switch {
	case errors.As(err, &files):
		e.code, e.reason = tunnelv1.End_UNREACHABLE, "the agent cannot read the target's TLS files"
	case certificateFault(err) != "":
		e.code, e.reason = tunnelv1.End_REJECTED, certificateFault(err)
	case tlsFault(err) != "":
		e.code, e.reason = tunnelv1.End_UNREACHABLE, tlsFault(err)
	case errors.As(err, &dial) && dial.Op == "dial":
		e.code, e.reason = tunnelv1.End_UNREACHABLE, dialFault(err)
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "MIME header"):
		// net/http has no types for these.
		e.code, e.reason = tunnelv1.End_REJECTED, "its answer is no HTTP"
	case strings.Contains(err.Error(), "server response headers exceeded"):
		e.code, e.reason = tunnelv1.End_REJECTED, "its answer's headers are too large"
	default:
		e.code, e.reason = tunnelv1.End_BROKEN, "its answer broke off"
	}
	return e
}

func certificateFault(err error) string {
	var verification *tls.CertificateVerificationError
	if !errors.As(err, &verification) {
		return ""
	}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return "its certificate is signed by an unknown authority"
	case errors.As(err, &name):
		return "its certificate is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired or is not yet valid"
	}
	return "its certificate is not valid"
}

func tlsFault(err error) string {
	var header tls.RecordHeaderError
	var alert tls.AlertError
	var remote *net.OpError
	switch {
	case errors.As(err, &header):
		return "it does not speak TLS"
	case errors.As(err, &remote) && remote.Op == "remote error", errors.As(err, &alert):
		return "it refused the TLS handshake"
	case strings.HasPrefix(err.Error(), "tls: "):
		return "the TLS handshake failed"
	case strings.Contains(err.Error(), "TLS handshake timeout"):
		return "the TLS handshake timed out"
	}
	return ""
}

func dialFault(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case errors.As(err, &dns):
		return "the host name cannot be looked up"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to the host"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "connecting timed out"
	}
	return "no connection"
}
