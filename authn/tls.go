package authn

import (
	"crypto/tls"
	"errors"
)

// All tls.Config literals of Sallyport's own connections are in this file. They
// agree on three things. Tickets are off, as a resumed handshake would bring an
// identity back that has been judged under other anchors. The library's own
// verification is off in favour of VerifyConnection, which runs in every
// handshake. And what a handshake presents is the material of that moment.

// application protocols, as in ALPN.
const (
	protocolTunnel = "h2"
	// HTTP/1.1 only: one scrape at a time on a connection, so that an answer that
	// breaks off breaks the connection, and no stream can be reset by the thousand.
	protocolHTTPS = "http/1.1"
)

// serverConfig is for one handshake of a listener. verify is called with what
// the client presented, which may be nothing unless auth is RequireClient.
func serverConfig(m *Material, protocol string, auth ClientAuth, verify func(tls.ConnectionState) error) *tls.Config {
	// Prometheus builds and HTTP clients that speak TLS 1.2 only are still about,
	// and Go's defaults for it are sound. The tunnel has our own agents alone.
	minimum := uint16(tls.VersionTLS12)
	if protocol == protocolTunnel {
		minimum = tls.VersionTLS13
	}
	if m.requirePQ {
		minimum = tls.VersionTLS13 // No earlier one has such a group.
	}
	return &tls.Config{
		MinVersion:             minimum,
		CurvePreferences:       m.groups(),
		NextProtos:             []string{protocol},
		Certificates:           []tls.Certificate{*m.Certificate},
		ClientAuth:             auth.tls(),
		SessionTicketsDisabled: true,
		VerifyConnection:       verify,
	}
}

// clientConfig is for one handshake of an agent with a proxy. TLS 1.3 keeps our
// own certificate back until the server's has passed verify.
func clientConfig(m *Material, verify func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		CurvePreferences:       m.groups(),
		NextProtos:             []string{protocolTunnel},
		Certificates:           []tls.Certificate{*m.Certificate},
		InsecureSkipVerify:     true, // VerifyConnection verifies.
		SessionTicketsDisabled: true,
		VerifyConnection:       verify,
	}
}

// verifyClient returns a VerifyConnection for a listener. It keeps the peer that
// passed in *proved; the caller may believe that only once the handshake is over,
// for the proof that the peer holds the key comes after this.
func verifyClient(m *Material, auth ClientAuth, proved **Peer) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if err := m.checkGroup(state); err != nil {
			return err
		}
		if len(state.PeerCertificates) == 0 {
			if auth == RequireClient {
				return fail(NoCertificate, errors.New("peer has no certificate"))
			}
			return nil
		}
		peer, err := m.Verify(state.PeerCertificates, Client)
		if err != nil {
			return claimed(err, state.PeerCertificates[0])
		}
		*proved = peer.over(state)
		return nil
	}
}

// ClientAuth says what a listener asks of its clients.
type ClientAuth uint8

const (
	// RequireClient ends the handshake of a client without a certificate.
	RequireClient ClientAuth = iota
	// OptionalClient lets it pass without a peer. A certificate that is presented
	// must still be good.
	OptionalClient
	// NoClient asks for none.
	NoClient
)

// tls asks for "any" certificate: VerifyConnection judges it.
func (a ClientAuth) tls() tls.ClientAuthType {
	switch a {
	case NoClient:
		return tls.NoClientCert
	case OptionalClient:
		return tls.RequestClientCert
	default:
		return tls.RequireAnyClientCert
	}
}
