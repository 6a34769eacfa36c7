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
	*gatherer
	source Source
	// standing is nil until the handshake is over, and where it proved nobody.
	standing atomic.Pointer[standing]
	// shaking is nil but while a listener's handshake is under way.
	shaking *shaking
	// evicted: closed by the listener to make room.
	evicted atomic.Bool
}

// standing is how a peer was judged last.
type standing struct {
	peer    *Peer
	anchors *Anchors
	// lapsed is why the peer is no longer good. That is final.
	lapsed error
}

// Read reads from the peer.
func (c *Conn) Read(p []byte) (int, error) {
	if c.shaking != nil {
		return c.shaking.read(c.Conn, p)
	}
	return c.Conn.Read(p)
}

// Write writes to the peer.
func (c *Conn) Write(p []byte) (int, error) {
	if c.shaking != nil {
		return c.shaking.write(c.gatherer, p)
	}
	return c.gatherer.Write(p)
}

// Peer returns who was there when it was judged last. It is false until the
// handshake is over, and after one in which the client showed no certificate and
// needed none.
func (c *Conn) Peer() (*Peer, bool) {
	s := c.standing.Load()
	if s == nil || s.lapsed != nil {
		return nil, false
	}
	return s.peer, true
}

// judge returns who is there by the anchors and the clock of now; nobody and no
// error where there never was a peer. While neither says otherwise than before it
// costs two comparisons.
func (c *Conn) judge() (*Peer, error) {
	s := c.standing.Load()
	if s == nil {
		return nil, nil
	}
	if s.lapsed != nil {
		return nil, s.lapsed
	}
	now, err := anchorsOf(c.source)
	if err != nil {
		return nil, fail(NoMaterial, err)
	}
	if now == s.anchors && time.Now().Before(s.peer.NotAfter) {
		return s.peer, nil
	}
	peer, err := now.Judge(s.peer)
	if err != nil {
		peer = s.peer
	}
	c.standing.Store(&standing{peer: peer, anchors: now, lapsed: err})
	if err != nil {
		return nil, err
	}
	return peer, nil
}

// anchorsOf asks a Trust, which all our own sources are.
func anchorsOf(source Source) (*Anchors, error) {
	if trust, ok := source.(Trust); ok {
		return trust.Anchors()
	}
	material, err := source.Material()
	if err != nil {
		return nil, err
	}
	return material.anchors, nil
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
// now.
func shake(raw *Conn, protocol string, auth ClientAuth) (*tls.Conn, error) {
	material, err := raw.source.Material()
	if err != nil {
		return nil, fail(NoMaterial, err)
	}
	var proved *Peer
	cfg := serverConfig(material, protocol, auth, verifyClient(material, auth, &proved))
	classical := false
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		classical = !offersHybrid(hello)
		return nil, nil
	}
	secure := tls.Server(raw, cfg)
	if err := secure.Handshake(); err != nil {
		if material.requirePQ && classical {
			return nil, fail(ClassicalGroup, fmt.Errorf("client offers no post-quantum key exchange, SALLYPORT_TLS_REQUIRE_PQ wants one: %w", err))
		}
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
		raw.standing.Store(&standing{peer: proved, anchors: material.anchors})
	}
	return secure, nil
}
