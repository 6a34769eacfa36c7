package authz_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/seed-951114d4/sallyport/authz"
)

const revoked = `package sallyport.session

default allow := false

allow if count(reasons) == 0

reasons contains "the certificate is revoked" if data.revoked.serials[input.agent.serial]
`

func TestSessionsAreJudged(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"session.rego": revoked, "data.json": `{"revoked": {"serials": {"0a1b": true}}}`,
	}), authz.Options{})
	d := p.Session(t.Context(), connection())
	if d.Allow || d.Fault != nil || !slices.Equal(d.Reasons, []string{"the certificate is revoked"}) {
		t.Errorf("%+v", d)
	}
	if d.ID == "" || d.Revision != p.Revision() {
		t.Errorf("%+v", d)
	}
	other := connection()
	other.Agent.Serial = "0a1c"
	if d := p.Session(t.Context(), other); !d.Allow || len(d.Reasons) != 0 {
		t.Errorf("%+v", d)
	}
}

// Each route is decided anyway, so a policy need not say who may connect.
func TestSessionsWithoutAPackage(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(nil), authz.Options{})
	if d := p.Session(t.Context(), connection()); !d.Allow || d.Fault != nil || d.ID == "" || d.Revision != p.Revision() {
		t.Errorf("%+v", d)
	}
}

func TestUndefinedSessionDenies(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"session.rego": "package sallyport.session\n\nallow if input.agent.serial == \"x\"\n",
	}), authz.Options{})
	d := p.Session(t.Context(), connection())
	denied(t, d, "deciding session")
	if !errors.Is(d.Fault, authz.ErrUndefined) {
		t.Errorf("fault %v", d.Fault)
	}
}

// A package for sessions that cannot say yes was meant to say something: to let all
// in would pass its author over.
func TestSessionPackagesThatDoNotLoad(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		words []string
	}{
		"no allow": {map[string]string{"session.rego": "package sallyport.session\n\nalow := true\n"},
			[]string{"session.rego:1", "needs a rule data.sallyport.session.allow"}},
		"reasons alone": {map[string]string{"session.rego": "package sallyport.session\n\nreasons contains \"x\"\n"},
			[]string{"session.rego:1", "needs a rule data.sallyport.session.allow"}},
		"nothing": {map[string]string{"session.rego": "package sallyport.session\n"},
			[]string{"session.rego:1", "needs a rule data.sallyport.session.allow"}},
		"a package below": {map[string]string{"session.rego": "package sallyport.session.agents\n\nallow := true\n"},
			[]string{"session.rego:1", "needs a rule data.sallyport.session.allow"}},
		"a rule from above": {map[string]string{"up.rego": "package sallyport\n\nsession.deny := true\n"},
			[]string{"up.rego:3", "needs a rule data.sallyport.session.allow"}},
		"data": {map[string]string{"sallyport/session/data.json": `{"revoked": {"serials": ["0a1b"]}}`},
			[]string{"a data file sets data.sallyport.session", "needs a rule data.sallyport.session.allow"}},
		"data in the place of allow": {map[string]string{"sallyport/session/data.json": `{"allow": true}`},
			[]string{"data.sallyport.session.allow must be a rule"}},
		"a function": {map[string]string{"session.rego": "package sallyport.session\n\nallow(_) := true\n"},
			[]string{"session.rego:3", "must be a rule, not a function"}},
		"the route": {map[string]string{"session.rego": "package sallyport.session\n\nallow if input.route.path == \"/\"\n"},
			[]string{"session.rego:3", "undefined ref: input.route"}},
		"the name of a field": {map[string]string{"session.rego": "package sallyport.session\n\nallow if input.agent.serail == \"x\"\n"},
			[]string{"session.rego:3", "undefined ref: input.agent.serail"}},
		"a fault": {map[string]string{"session.rego": "package sallyport.session\n\nallow := \"yes\"\n"},
			[]string{"session, sample of a spiffe agent", "allow is of type string"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mustNotCompile(t, folder(tt.files), tt.words...)
		})
	}
}

// Limits bound a route or a scraper, labels a route: of a session neither is asked.
func TestSessionsHaveNoLimits(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"session.rego": "package sallyport.session\n\nallow := true\n\nlimits := {\"mine\": 1}\n\nlabels := 5\n",
	}), authz.Options{})
	if d := p.Session(t.Context(), connection()); !d.Allow || d.Limits != (authz.Limits{}) || d.Labels != nil {
		t.Errorf("%+v", d)
	}
}

// A limit that is written in parts binds as one that is written whole.
func TestAnswersInParts(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"register.rego": "package sallyport.register\n\nallow := true\n\nlimits.max_routes := 5\n\n" +
			"limits.max_inflight := 2 if input.agent.kind == \"spiffe\"\n\nlabels[name] := \"x\" if some name in [\"a\", \"b\"]\n",
		"reasons.rego": "package sallyport\n\nregister.reasons contains \"why\"\n",
	}), authz.Options{})
	d := p.Register(t.Context(), node())
	if !d.Allow || d.Limits != (authz.Limits{MaxRoutes: 5, MaxInflight: 2}) || len(d.Labels) != 2 ||
		!slices.Equal(d.Reasons, []string{"why"}) {
		t.Errorf("%+v", d)
	}
	mustNotCompile(t, folder(map[string]string{
		"scrape.rego": "package sallyport.scrape\n\nallow.all := true\n",
	}), "allow is of type object")
	mustNotCompile(t, folder(map[string]string{
		"scrape.rego": "package sallyport.scrape\n\nallow := true\n",
		"limits.rego": "package sallyport.scrape.limits\n\nmax_bytes := 5\n",
	}), "unknown key \"max_bytes\"")
}
