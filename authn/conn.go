package authn

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// Conn is the connection under TLS. It remembers who its handshake proved. Close
// cuts it at once, without a word to the peer.
type Conn struct {
	net.Conn
	peer atomic.Pointer[Peer]
	// evicted: closed by the listener to make room.
	evicted atomic.Bool
}

// Peer returns who is at the other end. It is false until the handshake is over,
// and after one in which the client showed no certificate and needed none.
func (c *Conn) Peer() (*Peer, bool) {
	peer := c.peer.Load()
	return peer, peer != nil
}

type connKey struct{}

// ConnContext is for http.Server.ConnContext, on connections of a Listener: by it
// PeerFromContext and ConnFromContext know a request's connection.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	if raw, ok := underTLS(conn); ok {
		return context.WithValue(ctx, connKey{}, raw)
	}
	return ctx
}

// underTLS finds our Conn below a TLS connection.
func underTLS(conn net.Conn) (*Conn, bool) {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil, false
	}
	raw, ok := secure.NetConn().(*Conn)
	return raw, ok
}

// shake runs the server's side of a handshake on raw, with the material as it is
// now, and ends at the deadline.
func shake(raw *Conn, source Source, protocol string, auth ClientAuth, deadline time.Time) (*tls.Conn, error) {
	material, err := source.Material()
	if err != nil {
		return nil, fail(NoMaterial, err)
	}
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, err
	}
	var proved *Peer
	secure := tls.Server(raw, serverConfig(material, protocol, auth, verifyClient(material, auth, &proved)))
	if err := secure.Handshake(); err != nil {
		return nil, err
	}
	// crypto/tls goes on with a client that names no protocol at all.
	if got := secure.ConnectionState().NegotiatedProtocol; protocol == protocolTunnel && got != protocol {
		return nil, fail(Protocol, fmt.Errorf("client speaks %q, not %q", got, protocol))
	}
	if err := raw.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if proved != nil {
		raw.peer.Store(proved)
	}
	return secure, nil
}
