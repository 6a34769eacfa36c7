package authz

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// panicky builtins panic under GODEBUG=fips140=only: the digests always, what is keyed
// when its key is short. In a test of the policy nobody could recover from that. No
// policy should rest on the former, and none has a secret to key the latter with.
var panicky = []string{
	"crypto.md5", "crypto.sha1", "crypto.hmac.md5", "crypto.hmac.sha1",
	"crypto.hmac.sha256", "crypto.hmac.sha512",
	"io.jwt.verify_hs256", "io.jwt.verify_hs384", "io.jwt.verify_hs512",
}

// clocks look at the time though OPA calls them deterministic: whether a certificate
// is valid depends on when one asks.
var clocks = []string{
	"crypto.x509.parse_and_verify_certificates",
	"crypto.x509.parse_and_verify_certificates_with_options",
}

// capabilities are the language without what makes an answer depend on anything
// but input and data: network, clock, randomness, environment. A policy that calls
// one of those does not compile.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic || slices.Contains(panicky, b.Name) || slices.Contains(clocks, b.Name)
	})
	c.AllowNet = []string{}
	return c
}
