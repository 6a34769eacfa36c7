// Package authn answers who is there. It keeps this daemon's own key pair and
// trust anchors current (from files or from the SPIFFE Workload API), shakes
// hands over TLS, and tells who the other end proved to be.
//
// The proxy, the agent and the commands import it; it imports nothing of ours.
//
// It refuses what it is not sure of. There is one verifier for every peer, it
// reads nothing but subject alternative names, it trusts the anchors of a trust
// domain for that trust domain only, and it runs in every handshake: session
// tickets are off, so no handshake is ever skipped. There is no plaintext mode.
//
// A handshake is one moment, and a connection may live for weeks. So a proved peer
// can be judged again, by the anchors, revocation lists and clock of later: see
// Anchors.Judge and PeerFromContext. All time is that of package time, so a test
// controls it with testing/synctest.
package authn
