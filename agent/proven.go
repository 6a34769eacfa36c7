package agent

import (
	"fmt"

	"github.com/seed-951114d4/sallyport/authn"
)

// proven is the proxy of a session: who its handshake proved it to be, and whether
// it still would.
type proven struct {
	trust authn.Trust
	peer  *authn.Peer
	// changed is closed when the proxy is to be judged again. So it is when the
	// peer's NotAfter has come.
	changed <-chan struct{}
}

func newProven(trust authn.Trust, peer *authn.Peer) *proven {
	// The handshake went by what may have changed since.
	changed := make(chan struct{})
	close(changed)
	return &proven{trust: trust, peer: peer, changed: changed}
}

// judge goes by the anchors and the clock as they are now.
func (p *proven) judge() error {
	p.changed = p.trust.Changed()
	anchors, err := p.trust.Anchors()
	if err != nil {
		return fmt.Errorf("judging the proxy again: %w", err)
	}
	peer, err := anchors.Judge(p.peer)
	if err != nil {
		return fmt.Errorf("the proxy is no longer trusted: %w", err)
	}
	p.peer = peer
	return nil
}

// pinned is a source that has one material, which is that of a session.
type pinned struct{ material *authn.Material }

// Material implements authn.Source.
func (p pinned) Material() (*authn.Material, error) { return p.material, nil }

// Changed implements authn.Source.
func (pinned) Changed() <-chan struct{} { return nil }
