package authz_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/seed-951114d4/sallyport/authz"
)

const explained = `package sallyport.register

import data.lib

default allow := false

allow if {
	mine
	lib.depth(input.route.segments) < 3
}

allow if "admin" in roles

mine if input.agent.segments == input.route.segments

roles contains role if some role in input.agent.segments

reasons contains reason if {
	not allow
	reason := sprintf("%s <is> not yours", [input.route.path])
}

limits.max_routes := 7

labels[name] := value if some name, value in input.route.labels

quota := 1 if {
	input.agent.kind == "dns"
} else := 2
`

func TestExplain(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"register.rego": explained,
		"lib.rego":      "package lib\n\ndepth(segments) := count(segments)\n",
	}), authz.Options{})

	e := p.Explain(t.Context(), node())
	if !e.Decision.Allow || e.Decision.ID == "" || e.Decision.Limits.MaxRoutes != 7 {
		t.Errorf("%+v", e.Decision)
	}
	wantRules(t, e.Rules, []authz.FiredRule{
		{Name: "data.sallyport.register.mine", File: "register.rego", Line: 14, Value: "true"},
		{Name: `data.lib.depth(["team-a","node"])`, File: "lib.rego", Line: 3, Value: "2"},
		{Name: "data.sallyport.register.allow", File: "register.rego", Line: 7, Value: "true"},
		{Name: "data.sallyport.register.limits.max_routes", File: "register.rego", Line: 23, Value: "7"},
		{Name: "data.sallyport.register.labels.env", File: "register.rego", Line: 25, Value: `"prod"`},
	})

	in := node()
	in.Route.Path, in.Route.Segments, in.Route.Labels = "/x", []string{"x"}, nil
	e = p.Explain(t.Context(), in)
	if e.Decision.Allow || !slices.Equal(e.Decision.Reasons, []string{"/x <is> not yours"}) {
		t.Errorf("%+v", e.Decision)
	}
	wantRules(t, e.Rules, []authz.FiredRule{
		{Name: "data.sallyport.register.roles", File: "register.rego", Line: 16, Value: `"team-a"`},
		{Name: "data.sallyport.register.roles", File: "register.rego", Line: 16, Value: `"node"`},
		{Name: "data.sallyport.register.allow", File: "register.rego", Line: 5, Value: "false"},
		{Name: "data.sallyport.register.reasons", File: "register.rego", Line: 18, Value: `"/x <is> not yours"`},
		{Name: "data.sallyport.register.limits.max_routes", File: "register.rego", Line: 23, Value: "7"},
	})
}

func wantRules(t *testing.T, got, want []authz.FiredRule) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for _, r := range got {
		t.Logf("%+v", r)
	}
	t.Errorf("got the %d rules above, want %+v", len(got), want)
}

// Every kind of question can be explained, and a scrape is not taken from the cache.
func TestExplainAnyQuestion(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"scrape.rego":  "package sallyport.scrape\n\nallow if input.scraper.kind == \"spiffe\"\n",
		"admin.rego":   "package sallyport.admin\n\nallow if input.request.method == \"GET\"\n",
		"session.rego": "package sallyport.session\n\nallow := 2 == 2 if {\n\tinput.agent.kind == \"dns\"\n} else := input.agent.kind == \"spiffe\"\n",
	}), authz.Options{})
	for _, tt := range []struct {
		in   authz.Input
		want authz.FiredRule
	}{
		{node(), authz.FiredRule{Name: "data.sallyport.register.allow", File: "register.rego", Line: 3, Value: "false"}},
		{prometheus(), authz.FiredRule{Name: "data.sallyport.scrape.allow", File: "scrape.rego", Line: 3, Value: "true"}},
		{operator(), authz.FiredRule{Name: "data.sallyport.admin.allow", File: "admin.rego", Line: 3, Value: "true"}},
		{connection(), authz.FiredRule{Name: "data.sallyport.session.allow", File: "session.rego", Line: 5, Value: "true"}},
	} {
		p.Scrape(t.Context(), prometheus())
		e := p.Explain(t.Context(), tt.in)
		if e.Decision.Allow != (tt.want.Value == "true") || e.Decision.Fault != nil {
			t.Errorf("%T: %+v", tt.in, e.Decision)
		}
		wantRules(t, e.Rules, []authz.FiredRule{tt.want})
	}
}

// Where there is no answer the explanation says what else there was.
func TestExplainFaults(t *testing.T) {
	t.Parallel()
	e := (*authz.Policy)(nil).Explain(t.Context(), node())
	denied(t, e.Decision, "no policy")
	if e.Rules != nil {
		t.Errorf("rules %v", e.Rules)
	}

	p := mustCompile(t, folder(map[string]string{
		"register.rego": "package sallyport.register\n\nallow if {\n\tdoor == \"open\"\n\tto_number(input.route.path) == 1\n}\n\n" +
			"door := \"open\" if input.route.path == \"/boom\"\n\nreasons contains \"never\"\n",
	}), authz.Options{})
	in := node()
	in.Route.Path = "/boom"
	e = p.Explain(t.Context(), in)
	denied(t, e.Decision, "eval_builtin_error")
	wantRules(t, e.Rules, []authz.FiredRule{
		{Name: "data.sallyport.register.door", File: "register.rego", Line: 8, Value: `"open"`},
		{Name: "data.sallyport.register.reasons", File: "register.rego", Line: 10, Value: `"never"`},
	})

	// No package, so no rule: the proxy's own answer.
	if e := p.Explain(t.Context(), connection()); !e.Decision.Allow || len(e.Rules) != 0 {
		t.Errorf("%+v", e)
	}
}

// What an agent chose is written for a terminal: nothing in it is more than text, and it
// is the same JSON.
func TestExplanationsAreText(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"register.rego": "package sallyport.register\n\nallow if {\n\tcalled(who) == who\n\tcount(seen) + count(names) == 2\n}\n\nwho := input.agent.name\n\ncalled(x) := x\n\n" +
			"seen[name] := 1 if name := input.agent.name\n\nnames contains {who: who}\n",
	}), authz.Options{})
	const name = "a\u009b31m\u202eb\x7f\x1b\u2028\U000e0041é"
	in := node()
	in.Agent.Name = name
	e := p.Explain(t.Context(), in)
	if !e.Decision.Allow || len(e.Rules) != 5 {
		t.Errorf("%+v", e)
	}
	for _, r := range e.Rules {
		if strings.ContainsFunc(r.Name+r.Value, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%+q = %+q", r.Name, r.Value)
		}
		var value any
		if err := json.Unmarshal([]byte(r.Value), &value); err != nil {
			t.Errorf("%v in %s", err, r.Value)
		}
		if s, ok := value.(string); ok && s != name {
			t.Errorf("%q is not what was said", s)
		}
	}
}

func TestExplainedFaultsAreText(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"register.rego": "package sallyport.register\n\nallow if regex.match(input.agent.name, \"x\")\n",
	}), authz.Options{})
	in := node()
	in.Agent.Name = "[\u009b31m\u202e"
	fault := p.Explain(t.Context(), in).Decision.Fault
	var eval *topdown.Error
	if !errors.As(fault, &eval) || !strings.Contains(fault.Error(), "missing closing ]") {
		t.Fatal(fault)
	}
	if strings.ContainsAny(fault.Error(), "\u009b\u202e") {
		t.Errorf("%+q", fault)
	}
}

func TestExplanationsAreBounded(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"register.rego": "package sallyport.register\n\nallow := count(many) > 0\n\n" +
			"many contains sprintf(\"%d %s\", [i, data.long]) if some i in numbers.range(1, 1100)\n",
		"data.json": `{"long": "` + strings.Repeat("é", 600) + `"}`,
	}), authz.Options{})
	e := p.Explain(t.Context(), node())
	if len(e.Rules) != 1000 {
		t.Errorf("%d rules", len(e.Rules))
	}
	for _, r := range e.Rules {
		if len(r.Value) > 1024 || !strings.HasSuffix(r.Value, "é…") {
			t.Fatalf("%d bytes: %s", len(r.Value), r.Value)
		}
	}
}
