package authn

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net"
	"time"

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
}

// Serial returns the leaf's serial number in lower-case hex.
func (p *Peer) Serial() string { return hex.EncodeToString(p.Chain[0].SerialNumber.Bytes()) }

// SPKISHA256 returns the SHA-256 of the leaf's public key info in lower-case hex.
func (p *Peer) SPKISHA256() string {
	sum := sha256.Sum256(p.Chain[0].RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// PeerFromContext returns who is at the other end of the gRPC call or HTTP
// request that ctx belongs to. It is false for a scraper that came without a
// certificate, and for a context that came from no handshake of ours. It is
// cheap: nothing is verified again.
func PeerFromContext(ctx context.Context) (*Peer, bool) {
	if info, ok := tunnelInfo(ctx); ok {
		return info.peer, info.peer != nil
	}
	if conn, ok := ctx.Value(connKey{}).(*Conn); ok {
		return conn.Peer()
	}
	return nil, false
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
