package authn

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/credentials"
)

// TunnelInfo is the AuthInfo of a session's connection, on both sides.
// PeerFromContext and ConnFromContext read it.
type TunnelInfo struct {
	credentials.CommonAuthInfo
	peer *Peer
	conn net.Conn
}

// AuthType implements credentials.AuthInfo.
func (TunnelInfo) AuthType() string { return "tls" }

func newTunnelInfo(peer *Peer, conn net.Conn) TunnelInfo {
	return TunnelInfo{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		peer:           peer,
		conn:           conn,
	}
}

// TunnelServerCredentials are for a gRPC server on a listener of ListenTunnel. It
// has shaken hands already; these pass on who it was, and refuse any connection
// that came another way.
func TunnelServerCredentials() credentials.TransportCredentials { return serverCredentials{} }

type serverCredentials struct{}

func (serverCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	raw, ok := underTLS(conn)
	if !ok {
		_ = conn.Close()
		return nil, nil, errors.New("connection is not of a tunnel listener")
	}
	peer, ok := raw.Peer()
	if !ok {
		_ = conn.Close()
		return nil, nil, errors.New("connection has no proved peer")
	}
	return conn, newTunnelInfo(peer, raw), nil
}

func (serverCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("credentials are for a server")
}

func (serverCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (serverCredentials) Clone() credentials.TransportCredentials { return serverCredentials{} }

func (serverCredentials) OverrideServerName(string) error { return errNoOverride }

var errNoOverride = errors.New("the server name is not to be overridden")

// TunnelClientCredentials are an agent's. The proxy must prove exactly the given
// SPIFFE ID; the zero ID stands for the host name that is dialled, which is
// verified in files mode and refused in SPIFFE mode. Until it has passed, the
// proxy gets nothing but the greeting of TLS: our certificate comes after.
func TunnelClientCredentials(source Source, proxy spiffeid.ID) credentials.TransportCredentials {
	return clientCredentials{source: source, proxy: proxy}
}

type clientCredentials struct {
	source Source
	proxy  spiffeid.ID
}

func (c clientCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	material, err := c.source.Material()
	if err != nil {
		_ = conn.Close()
		return nil, nil, fail(NoMaterial, err)
	}
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = authority
	}
	// Written by the handshake, which may outlive a cancelled ctx: read it only
	// once that has ended well.
	var proved *Peer
	cfg := clientConfig(material, func(state tls.ConnectionState) error {
		peer, err := c.verify(material, state, host)
		if err != nil {
			return err
		}
		proved = peer.over(state)
		return nil
	})
	under := &gatherer{Conn: conn}
	secure, _, err := credentials.NewTLS(cfg).ClientHandshake(ctx, authority, under)
	if err != nil {
		return nil, nil, material.explain(err)
	}
	return gathered{Conn: secure, under: under}, newTunnelInfo(proved, conn), nil
}

func (c clientCredentials) verify(m *Material, state tls.ConnectionState, host string) (*Peer, error) {
	if err := m.checkGroup(state); err != nil {
		return nil, err
	}
	if !c.proxy.IsZero() {
		return m.anchors.verifyID(state.PeerCertificates, Server, c.proxy)
	}
	if m.anchors.own.source != sourceFiles {
		return nil, fail(WrongPeer, errors.New("no SPIFFE ID to expect of the proxy"))
	}
	return m.anchors.verifyHost(state.PeerCertificates, host)
}

func (clientCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("credentials are for a client")
}

func (clientCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c clientCredentials) Clone() credentials.TransportCredentials { return c }

func (clientCredentials) OverrideServerName(string) error { return errNoOverride }
