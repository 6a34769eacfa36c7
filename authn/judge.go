package authn

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Judge tells whether a peer that has passed a handshake would still be known for
// the same, by these anchors and the clock as it is. An error is an *Error.
//
// The peer it returns is the given one as long as the chain that proved it stands:
// that costs about a microsecond, for signatures do not change. Otherwise all that
// the peer presented is verified anew. Where that finds another chain, it returns
// another peer of the same identity, which may end at another time: so judge a peer
// also when its NotAfter has come.
//
// A revocation list that is out of date or cannot be read lets nobody in, but it
// makes nobody leave: Judge goes by what it said last.
func (a *Anchors) Judge(peer *Peer) (*Peer, error) {
	if peer == nil {
		return nil, fail(NoCertificate, errors.New("there is no peer"))
	}
	t := trial{role: peer.role, now: time.Now(), live: true}
	judged, err := guard(func() (*Peer, error) {
		if a.stands(peer, t) {
			return peer, nil
		}
		if peer.role == Server && peer.Identity.kind == DNS {
			return a.verifyName(peer.presented, peer.Identity.name, t)
		}
		return a.verify(peer.presented, t)
	})
	switch {
	case err != nil || judged == peer:
		return judged, err
	case judged.Identity != peer.Identity:
		return nil, fail(WrongPeer, fmt.Errorf("peer is %.128q now, it was %.128q", judged.Identity, peer.Identity))
	case !t.now.Before(judged.NotAfter):
		return nil, fail(Expired, fmt.Errorf("a certificate of the chain ended at %s", judged.NotAfter.UTC().Format(time.RFC3339)))
	}
	judged.Group, judged.Suite = peer.Group, peer.Suite
	return judged, nil
}

// stands is true where nothing has changed that the peer's chain rests on. To be
// safe it need not be exact the other way round.
func (a *Anchors) stands(peer *Peer, t trial) bool {
	if len(peer.Chain) < 2 || !t.now.Before(peer.NotAfter) {
		return false
	}
	anchored := a.own
	switch peer.Identity.kind {
	case SPIFFE:
		if !a.accepts(peer.domain) {
			return false
		}
		anchored = a.of(peer.domain)
	case DNS:
		if !a.acceptsDNS() {
			return false
		}
	default:
		return false
	}
	for _, cert := range peer.Chain {
		if t.now.Before(cert.NotBefore) {
			return false
		}
	}
	return anchored.source == peer.Source && anchored.has(peer.Chain[len(peer.Chain)-1]) && a.checkChain(peer.Chain, t) == nil
}

func (b bundle) has(root *x509.Certificate) bool {
	return slices.ContainsFunc(b.certs, func(cert *x509.Certificate) bool {
		return cert == root || bytes.Equal(cert.Raw, root.Raw)
	})
}
