package proxy

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// standing is what a session's identity rests on. A handshake looks at a
// certificate once and a session lives for weeks, so what it proved is judged
// again: when it expires, and when the trust in force changes.
type standing struct {
	// peer is what was proved, as it was judged last.
	peer atomic.Pointer[authn.Peer]

	mu     sync.Mutex // one judgement at a time
	expiry *time.Timer
	ended  bool
}

// peer is what the session's handshake proved, as it was judged last. Its
// identity and its leaf never change.
func (s *session) peer() *authn.Peer { return s.standing.peer.Load() }

// agentInput is the agent as policies see it now.
func (s *session) agentInput() authz.AgentInput {
	input := s.input
	input.NotAfter = s.peer().NotAfter
	return input
}

// end judges the peer no more.
func (st *standing) end() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ended = true
	if st.expiry != nil {
		st.expiry.Stop()
	}
}

// prove judges what the session's peer proved by the trust in force, and has that
// done again when it expires. It returns why the session may not go on.
func (p *Proxy) prove(s *session) *refusal {
	st := &s.standing
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ended {
		return nil
	}
	anchors, err := p.trust.Anchors()
	if err != nil {
		return lapse(s.peer(), err)
	}
	peer, err := anchors.Judge(s.peer())
	if err != nil {
		return lapse(s.peer(), err)
	}
	st.peer.Store(peer)
	left := time.Until(peer.NotAfter)
	if st.expiry == nil {
		st.expiry = time.AfterFunc(left, func() { p.hold(s) })
	} else {
		st.expiry.Reset(left)
	}
	return nil
}

// hold ends the session unless its peer is still good.
func (p *Proxy) hold(s *session) (ended bool) {
	why := p.prove(s)
	if why == nil {
		return false
	}
	event := s.event("session", time.Now())
	event.Decision.Reasons = []string{why.reason}
	p.record(event, authz.Revoked)
	p.end(s, why)
	return true
}

// lapse is what an agent is told whose certificate is no longer good; the cause is
// for our own log.
func lapse(peer *authn.Peer, cause error) *refusal {
	var lapsed *authn.Error
	reason := authn.NoMaterial
	if errors.As(cause, &lapsed) {
		reason = lapsed.Reason
	}
	why := refuse(tunnelv1.Goodbye_REFUSED, "the certificate is no longer accepted: %s", reason)
	if reason == authn.Expired {
		why = refuse(tunnelv1.Goodbye_REFUSED, "the certificate ended at %s", peer.NotAfter.UTC().Format(time.RFC3339))
	}
	why.word, why.cause = string(reason), cause
	return why
}
