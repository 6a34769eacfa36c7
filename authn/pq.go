package authn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// hybrids are the key exchanges that stand also against a quantum computer: a
// recording of today stays secret. Go prefers them by itself.
var hybrids = []tls.CurveID{tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024}

// groups are nil for Go's own choice.
func (m *Material) groups() []tls.CurveID {
	if m.requirePQ {
		return slices.Clone(hybrids)
	}
	return nil
}

// checkGroup makes sure of what groups asked for.
func (m *Material) checkGroup(state tls.ConnectionState) error {
	if m.requirePQ && !slices.Contains(hybrids, state.CurveID) {
		return fail(ClassicalGroup, fmt.Errorf("key exchange is %v, SALLYPORT_TLS_REQUIRE_PQ wants a post-quantum one", state.CurveID))
	}
	return nil
}

func offersHybrid(hello *tls.ClientHelloInfo) bool {
	return slices.Contains(hello.SupportedVersions, tls.VersionTLS13) &&
		slices.ContainsFunc(hello.SupportedCurves, func(group tls.CurveID) bool { return slices.Contains(hybrids, group) })
}

// explain says what a server most likely means that ends the handshake of a client
// which offers hybrids only: it answers the greeting with handshake_failure where it
// shares no group, and everything about certificates with another alert.
func (m *Material) explain(err error) error {
	var remote *net.OpError
	if m.requirePQ && errors.As(err, &remote) && remote.Op == "remote error" && strings.HasSuffix(remote.Err.Error(), "handshake failure") {
		return fail(ClassicalGroup, fmt.Errorf("the proxy seems to have no post-quantum key exchange, SALLYPORT_TLS_REQUIRE_PQ wants one: %w", err))
	}
	return err
}
