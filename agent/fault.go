package agent

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-951114d4/sallyport/authn"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// connectFault is why a session did not begin.
type connectFault struct {
	result string       // a value of the metric's label
	reason authn.Reason // of a failed handshake
	cause  error
}

func (f *connectFault) Error() string {
	switch f.result {
	case connectUnreachable:
		return "connecting: " + f.cause.Error()
	case connectHandshake:
		return "shaking hands: " + f.cause.Error()
	}
	return "beginning the session: " + f.cause.Error()
}

func (f *connectFault) Unwrap() error { return f.cause }

var digits = regexp.MustCompile(`[0-9]+`)

// kindOf is the same for attempts that failed alike, so that the log tells them
// once: a connection that breaks does so by one of several errors, and some
// texts differ in our port.
func kindOf(err error) string {
	var fault *connectFault
	if errors.As(err, &fault) {
		if fault.result == connectHandshake {
			return fault.result + string(fault.reason) + hint(fault)
		}
		if authn.ReasonOf(fault.cause) == authn.Disconnected {
			return fault.result
		}
	}
	return digits.ReplaceAllString(err.Error(), "#")
}

// goodbye is the proxy's last word.
type goodbye struct {
	code   tunnelv1.Goodbye_Code
	reason string
}

func newGoodbye(g *tunnelv1.Goodbye) *goodbye {
	return &goodbye{code: g.GetCode(), reason: sayable(g.GetReason(), 200)}
}

func (g *goodbye) Error() string {
	return fmt.Sprintf("the proxy said goodbye: %s: %s", g.code, g.reason)
}

// protocolFault is a proxy that broke the wire contract.
type protocolFault string

func (f protocolFault) Error() string { return "the proxy broke the contract: " + string(f) }

// hint tells an operator what to look at, "" where the error says it all.
func hint(err error) string {
	var fault *connectFault
	if errors.As(err, &fault) && fault.result == connectHandshake {
		if wrongPort(fault.cause) {
			return wrongPortHint
		}
		return handshakeHint(fault.reason)
	}
	var bye *goodbye
	var protocol protocolFault
	switch {
	case errors.As(err, &bye) && bye.code == tunnelv1.Goodbye_LIMIT:
		return "the proxy has as many sessions as it takes: see SALLYPORT_MAX_SESSIONS and SALLYPORT_MAX_SESSIONS_PER_IDENTITY there"
	case errors.As(err, &bye) && bye.code == tunnelv1.Goodbye_REFUSED:
		return "the proxy's policy or its trust refuses this agent: renew the certificate if that has ended, else see the proxy's log"
	case errors.As(err, &bye) && bye.code == tunnelv1.Goodbye_PROTOCOL, errors.As(err, &protocol):
		return "compare the releases of the agent and the proxy"
	case status.Code(errors.Unwrap(err)) == codes.Unimplemented:
		return "that is no tunnel port of a Sallyport proxy: see SALLYPORT_PROXY_ADDRS"
	}
	return ""
}

// withHint adds a hint to what is logged, where there is one.
func withHint(facts []any, hint string) []any {
	if hint == "" {
		return facts
	}
	return append(facts, "hint", hint)
}

const wrongPortHint = "that port does not speak Sallyport's TLS: SALLYPORT_PROXY_ADDRS wants the proxy's tunnel port"

// wrongPort says whether a server refused the protocol and not the certificate:
// the scrape port takes the agent's TLS, but speaks no HTTP/2. crypto/tls exports
// no type for the alert.
func wrongPort(err error) bool {
	return strings.Contains(err.Error(), "tls: no application protocol") ||
		strings.Contains(err.Error(), "missing selected ALPN property")
}

func handshakeHint(reason authn.Reason) string {
	switch reason {
	case authn.WrongPeer:
		return "another than the expected proxy answered: compare SALLYPORT_PROXY_ID, or the host in SALLYPORT_PROXY_ADDRS, with the proxy's certificate"
	case authn.UnknownAuthority, authn.UntrustedDomain:
		return "the agent does not trust the authority of the proxy's certificate: compare SALLYPORT_TLS_CA_FILE or the trust bundle, and SALLYPORT_TRUST_DOMAINS"
	case authn.Expired, authn.NotYetValid:
		return "the proxy's certificate is not valid now: renew it, and compare the clocks"
	case authn.WrongPurpose, authn.BadIdentity, authn.BadChain, authn.DemoAuthority:
		return "the proxy's certificate is not one for a proxy"
	case authn.NoMaterial:
		return "the agent has no valid certificate of its own: renew SALLYPORT_TLS_CERT_FILE, or see that the Workload API gives one"
	case authn.Rejected:
		return "the proxy refuses the agent's certificate: the proxy's log says why"
	case authn.Protocol, authn.NoCertificate:
		return wrongPortHint
	}
	return ""
}
