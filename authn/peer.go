package authn

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/peer"
)

// Peer is what a finished handshake proved. It is immutable.
type Peer struct {
	Identity Identity
	// Chain is the verified one: leaf first, root last. Never empty.
	Chain []*x509.Certificate
	// NotAfter is the earliest of the chain.
	NotAfter time.Time
	// Source says how the anchors were had: "spiffe" or "files".
	Source string
	// Group is the key exchange of its connection, Suite the cipher suite.
	Group tls.CurveID
	Suite uint16

	// What Judge needs to verify it again: Identity of a server may be the host
	// that was dialled.
	role      Role
	domain    spiffeid.TrustDomain // zero for a DNS name
	presented []*x509.Certificate
}

// over adds what is known of the connection.
func (p *Peer) over(state tls.ConnectionState) *Peer {
	p.Group, p.Suite = state.CurveID, state.CipherSuite
	return p
}

// GroupName returns the name of the key exchange, such as X25519MLKEM768.
func (p *Peer) GroupName() string { return p.Group.String() }

// SuiteName returns the name of the cipher suite, such as TLS_AES_128_GCM_SHA256.
func (p *Peer) SuiteName() string { return tls.CipherSuiteName(p.Suite) }

// Serial returns the leaf's serial number in lower-case hex.
func (p *Peer) Serial() string { return hex.EncodeToString(p.Chain[0].SerialNumber.Bytes()) }

// SPKISHA256 returns the SHA-256 of the leaf's public key info in lower-case hex.
func (p *Peer) SPKISHA256() string {
	sum := sha256.Sum256(p.Chain[0].RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// PeerFromContext returns who is at the other end of the gRPC call or HTTP
// request that ctx belongs to. It is false for a scraper that came without a
// certificate, and for a context that came from no handshake of ours.
//
// A connection for HTTP may live for weeks, so its peer is judged again: false is
// also one that is no longer good, see Lapsed. That is cheap, as only a change of
// the anchors has anything verified again. A gRPC call's peer is the one of the
// handshake: who keeps sessions judges them.
func PeerFromContext(ctx context.Context) (*Peer, bool) {
	if info, ok := tunnelInfo(ctx); ok {
		return info.peer, info.peer != nil
	}
	if conn, ok := ctx.Value(connKey{}).(*Conn); ok {
		peer, err := conn.judge()
		return peer, peer != nil && err == nil
	}
	return nil, false
}

// Lapsed returns why the peer of an HTTP request's connection is no longer good,
// as an *Error; nil where it is good or there never was one. Such a connection will
// not recover: end it, and the scraper may come again with what it has now.
func Lapsed(ctx context.Context) error {
	if conn, ok := ctx.Value(connKey{}).(*Conn); ok {
		_, err := conn.judge()
		return err
	}
	return nil
}

// ConnFromContext returns the connection that carries the gRPC call or HTTP
// request. It is the same value for all calls of a connection, so it can key a
// map; closing it cuts the connection at once.
func ConnFromContext(ctx context.Context) (net.Conn, bool) {
	if info, ok := tunnelInfo(ctx); ok {
		return info.conn, info.conn != nil
	}
	conn, ok := ctx.Value(connKey{}).(*Conn)
	return conn, ok
}

func tunnelInfo(ctx context.Context) (TunnelInfo, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return TunnelInfo{}, false
	}
	info, ok := p.AuthInfo.(TunnelInfo)
	return info, ok
}
