package authz_test

import (
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/seed-951114d4/sallyport/authz"
)

func TestMisspeltFieldsDoNotLoad(t *testing.T) {
	t.Parallel()
	const scrapeAllows = "package sallyport.scrape\n\n"
	tests := []struct {
		name  string
		files map[string]string
		words []string // of the error
	}{
		{"plain", map[string]string{"register.rego": `package sallyport.register
allow if input.agnet.id == "x"`}, []string{"register.rego:2", "undefined ref", "agnet"}},
		{"deep", map[string]string{"register.rego": `package sallyport.register
allow if input.route.target.prot == 80`}, []string{"register.rego:2", "prot"}},
		{"under not", map[string]string{"register.rego": `package sallyport.register
allow if not input.agent.serail in data.revoked`}, []string{"register.rego:2", "serail"}},
		{"in a comprehension", map[string]string{"register.rego": `package sallyport.register
allow if count([s | some s in input.agent.segmets]) == 0`}, []string{"register.rego:2", "segmets"}},
		{"in every", map[string]string{"register.rego": `package sallyport.register
allow if every s in ["a"] { s != input.agent.nam }`}, []string{"register.rego:2", "nam"}},
		{"in else", map[string]string{"register.rego": `package sallyport.register
allow if input.agent.id == "x"
else := true if not input.state.ownr`}, []string{"register.rego:3", "ownr"}},
		{"in a function", map[string]string{"register.rego": `package sallyport.register
allow if not bad("x")
bad(s) if s == input.agent.naem`}, []string{"register.rego:3", "naem"}},
		{"in the value of reasons", map[string]string{"register.rego": `package sallyport.register
allow := false
reasons contains input.agent.i`}, []string{"register.rego:3"}},
		{"in limits", map[string]string{"register.rego": `package sallyport.register
allow := false
limits := {"max_routes": input.state.agents}`}, []string{"register.rego:3", "agents"}},
		{"in a variable", map[string]string{"register.rego": `package sallyport.register
allow if { a := input.agent; not a.revoked }`}, []string{"register.rego:2", "revoked"}},
		{"field of another action", map[string]string{"register.rego": `package sallyport.register
allow if not input.scraper.id == "x"`}, []string{"register.rego:2", "scraper"}},
		{"owner of a claimed route", map[string]string{"register.rego": `package sallyport.register
allow if input.route.owner == ""`}, []string{"register.rego:2", "owner"}},
		{"admin", map[string]string{"admin.rego": `package sallyport.admin
allow if input.request.methd == "GET"`}, []string{"admin.rego:2", "methd"}},
		{"sub-package", map[string]string{"sub.rego": `package sallyport.scrape.lib
ok if input.agent.id == "x"`}, []string{"sub.rego:2", "agent"}},
		{"helper package under not", map[string]string{
			"lib.rego": `package lib
revoked if input.agent.serial in data.revoked`,
			"scrape.rego": scrapeAllows + "allow if not data.lib.revoked",
		}, []string{"lib.rego:2", "agent", "input of scrape"}},
		{"helper by a variable path", map[string]string{
			"lib.rego": `package lib.serials
revoked if input.agent.serial in data.revoked`,
			"scrape.rego": scrapeAllows + "allow if { some kind in [\"serials\", \"keys\"]; not data.lib[kind].revoked }",
		}, []string{"lib.rego:2", "agent"}},
		{"helper of a helper", map[string]string{
			"a.rego":      "package a\nok if data.b.ok",
			"b.rego":      "package b\nok if input.agent.id == \"x\"",
			"scrape.rego": scrapeAllows + "import data.a\nallow if not a.ok",
		}, []string{"b.rego:2", "agent"}},
		{"helper of a helper in else", map[string]string{
			"a.rego":      "package a\nok if data.b.ok",
			"b.rego":      "package b\nok if data.c.ok",
			"c.rego":      "package c\nok if input.agent.id == \"x\"",
			"scrape.rego": scrapeAllows + "allow if input.request.timeout_ms == 0\nelse := true if not data.a.ok",
		}, []string{"c.rego:2", "agent", "input of scrape"}},
		{"dead helper", map[string]string{"lib.rego": `package lib
unused if input.agnet.id == "x"`}, []string{"lib.rego:2", "agnet"}},
		{"weakened by an annotation", map[string]string{"register.rego": `# METADATA
# scope: package
# schemas:
#   - input: {type: object}
package sallyport.register
allow if input.agnet.id == "x"`}, []string{"register.rego:6", "agnet"}},
		{"type of a field", map[string]string{"register.rego": `package sallyport.register
allow if startswith(input.state.agent_routes, "x")`}, []string{"register.rego:2", "startswith"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mustNotCompile(t, folder(tt.files), tt.words...)
		})
	}
}

func TestSharedHelpersLoad(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"lib/lib.rego": `package lib
ours(domain) if domain == input.proxy.trust_domain
agent_ok if input.agent.serial == "0a1b"
scraper_ok if input.scraper.kind == "spiffe"
any_label if input.route.labels.env == "prod"
either if input.agent.id
either if input.scraper.id`,
		"register.rego": `package sallyport.register
import data.lib
allow if {
	lib.ours(input.agent.trust_domain)
	lib.agent_ok
	lib.any_label
}`,
		"scrape.rego": `package sallyport.scrape
import data.lib
allow if {
	lib.ours(input.scraper.trust_domain)
	lib.scraper_ok
	lib.any_label
	input.request.query["collect[]"][0] == "cpu"
}`,
	}), authz.Options{})
	if d := p.Register(t.Context(), node()); !d.Allow {
		t.Errorf("register: %+v", d)
	}
	if d := p.Scrape(t.Context(), prometheus()); !d.Allow {
		t.Errorf("scrape: %+v", d)
	}
}

// Every way to reach beyond input and data is refused when the policy is compiled.
func TestForbiddenBuiltinsDoNotLoad(t *testing.T) {
	t.Parallel()
	names := []string{"crypto.md5", "crypto.sha1", "crypto.hmac.md5", "crypto.hmac.sha1", "crypto.hmac.sha256",
		"crypto.hmac.sha512", "io.jwt.verify_hs256", "io.jwt.verify_hs384", "io.jwt.verify_hs512"}
	for _, b := range ast.Builtins {
		if b.Nondeterministic {
			names = append(names, b.Name)
		}
	}
	for _, name := range []string{"http.send", "time.now_ns", "rand.intn", "uuid.rfc4122", "opa.runtime",
		"net.lookup_ip_addr", "json.match_schema", "json.verify_schema", "io.jwt.decode_verify",
		"io.jwt.encode_sign", "io.jwt.encode_sign_raw"} {
		if !strings.Contains(strings.Join(names, " "), name) {
			t.Errorf("%s is not on the list", name)
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arity := ast.BuiltinMap[name].Decl.Arity()
			call := name + "(" + strings.TrimSuffix(strings.Repeat("{}, ", arity), ", ") + ")"
			mustNotCompile(t, folder(map[string]string{
				"register.rego": "package sallyport.register\nallow if not " + call,
			}), "register.rego:2", "undefined function "+name)
			mustNotCompile(t, folder(map[string]string{
				"x_test.rego": "package x_test\ntest_x if not " + call,
			}), "x_test.rego:2", "undefined function "+name)
		})
	}
}
