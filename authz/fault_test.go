package authz_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-951114d4/sallyport/authz"
)

// Each of these policies answers the samples, and goes wrong for the path /boom only:
// as policies do go wrong, in production and for one peer.
func TestFaultsDeny(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, rego, fault string }{
		{"undefined", `allow if input.route.path != "/boom"`, "allow is undefined"},
		{"undefined else", `allow := x if { x := input.route.labels.absent }`, "allow is undefined"},
		{"allow of another type", `allow := "yes" if input.route.path == "/boom"`, "allow is of type string"},
		{"allow a number", `allow := 1 if input.route.path == "/boom"`, "allow is of type number"},
		{"allow null", `allow := null if input.route.path == "/boom"`, "allow is of type null"},
		{"conflict", `allow := true
			allow := false if input.route.path == "/boom"`, "eval_conflict_error"},
		{"conflict of a function", `allow if f(input.route.path)
			f(p) := true if p != ""
			f(p) := false if p == "/boom"`, "eval_conflict_error"},
		{"builtin error", `allow if { input.route.path == "/boom"; to_number("x") == 1 }`, "eval_builtin_error"},
		{"builtin error under not", `allow if not bad
			bad if { input.route.path == "/boom"; to_number("x") == 1 }`, "eval_builtin_error"},
		{"builtin error straight under not", `allow if not to_number(words[input.route.path]) == 1
			words := {"/boom": "x"}`, "eval_builtin_error"},
		{"builtin error in a comprehension", `allow if count([1 | input.route.path == "/boom"; to_number("x")]) == 0`, "eval_builtin_error"},
		{"division by zero", `allow if not 1 / count([1 | input.route.path != "/boom"]) == 3`, "divide by zero"},
		{"reasons an array", `allow := true
			reasons := ["no"] if input.route.path == "/boom"`, "reasons is of type array"},
		{"reasons of numbers", `allow := true
			reasons contains 7 if input.route.path == "/boom"`, "reasons holds an element"},
		{"reasons fail", `allow := true
			reasons contains to_number("x") if input.route.path == "/boom"`, "eval_builtin_error"},
		{"limits a number", `allow := true
			limits := 7 if input.route.path == "/boom"`, "limits is of type number"},
		{"limits with an unknown key", `allow := true
			limits := {"max_bytes": 7} if input.route.path == "/boom"`, `limits has the unknown key "max_bytes"`},
		{"limits with a key that is no string", `allow := true
			limits := {1: 7} if input.route.path == "/boom"`, "limits has a key"},
		{"limit negative", `allow := true
			limits := {"max_routes": -1} if input.route.path == "/boom"`, "limits has max_routes: -1"},
		{"limit zero", `allow := true
			limits := {"max_inflight": 0} if input.route.path == "/boom"`, "limits has max_inflight: 0"},
		{"limit not whole", `allow := true
			limits := {"max_timeout_ms": 1.5} if input.route.path == "/boom"`, "1.5 is no positive integer"},
		{"limit too large", `allow := true
			limits := {"max_body_bytes": 1e30} if input.route.path == "/boom"`, "is no positive integer"},
		{"limit a string", `allow := true
			limits := {"max_body_bytes": "1"} if input.route.path == "/boom"`, "is of type string"},
		{"labels a set", `allow := true
			labels := {"a"} if input.route.path == "/boom"`, "labels is of type set"},
		{"label a number", `allow := true
			labels := {"a": 1} if input.route.path == "/boom"`, "labels has a: is of type number"},
		{"label name a number", `allow := true
			labels := {1: "a"} if input.route.path == "/boom"`, "labels has a name"},
		{"label reserved", `allow := true
			labels := {"__address__": "evil:80"} if input.route.path == "/boom"`, "__address__"},
		{"label instance", `allow := true
			labels := {"instance": "other"} if input.route.path == "/boom"`, "instance"},
		{"label malformed", `allow := true
			labels := {"a-b": "x"} if input.route.path == "/boom"`, "a-b"},
		{"label empty", `allow := true
			labels := {"": "x"} if input.route.path == "/boom"`, "no label may have"},
		{"label of any length", `allow := true
			labels := {"a": concat("", [s | some i in numbers.range(1, 2000); s := "x"])} if input.route.path == "/boom"`, "at most 1024 bytes"},
		{"labels without number", `allow := true
			labels := {sprintf("l%d", [i]): "x" | input.route.path == "/boom"; some i in numbers.range(1, 65)}`, "at most 64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := mustCompile(t, folder(map[string]string{
				"register.rego": "package sallyport.register\n" + tt.rego,
			}), authz.Options{})
			in := node()
			in.Route.Path, in.Route.Segments = "/boom", []string{"boom"}
			denied(t, p.Register(t.Context(), in), tt.fault)
		})
	}
}

// denied wants a denial that tells the log why and the peer nothing.
func denied(t *testing.T, d authz.Decision, fault string) {
	t.Helper()
	switch {
	case d.Allow:
		t.Fatal("allowed")
	case d.Fault == nil:
		t.Fatalf("denied without a fault, want %q", fault)
	case !strings.Contains(d.Fault.Error(), fault):
		t.Errorf("fault %q, want %q", d.Fault, fault)
	}
	if d.Reasons != nil || d.Labels != nil || d.Limits != (authz.Limits{}) {
		t.Errorf("the denial carries something: %+v", d)
	}
	if d.ID == "" {
		t.Error("the denial has no ID")
	}
}

func TestFaultsOfTheSamplesDoNotLoad(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, file, rego, fault string }{
		{"conflict", "register.rego", "package sallyport.register\nallow := true\nallow := false if input.agent.id", "eval_conflict_error"},
		{"builtin error", "register.rego", "package sallyport.register\nallow if to_number(input.agent.id) == 1", "register.rego:2"},
		{"type", "scrape.rego", "package sallyport.scrape\nallow := \"yes\"", "allow is of type string"},
		{"admin", "admin.rego", "package sallyport.admin\nallow := true\nlimits := {\"max\": 1}", "unknown key"},
		{"dns only", "register.rego", "package sallyport.register\nallow if { input.agent.kind == \"dns\"; to_number(\"x\") }", "dns agent"},
		{"anonymous only", "scrape.rego", "package sallyport.scrape\nallow if { input.scraper.kind == \"anonymous\"; to_number(\"x\") }", "anonymous scraper"},
		{"endless", "register.rego", `package sallyport.register
allow if { some i in numbers.range(1, 1000000); some j in numbers.range(1, 1000000); i + j < 0 }`, "time limit of 200ms"},
		{"package instead of a rule", "allow.rego", "package sallyport.register.allow\nx := 1", "allow"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := authz.Compile(t.Context(), folder(map[string]string{tt.file: tt.rego}),
				authz.Options{Timeout: 200 * time.Millisecond})
			if err == nil || !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("no %q in: %v", tt.fault, err)
			}
		})
	}
}

func TestAbsentPackageDenies(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(nil), authz.Options{})
	d := p.Admin(t.Context(), operator())
	denied(t, d, "deciding admin")
	if !errors.Is(d.Fault, authz.ErrUndefined) {
		t.Errorf("fault %v", d.Fault)
	}
}

func TestNoPolicyDenies(t *testing.T) {
	t.Parallel()
	var zero authz.Engine
	for name, e := range map[string]*authz.Engine{"zero": &zero, "nil": authz.NewEngine(nil)} {
		denied(t, e.Register(t.Context(), node()), "no policy")
		denied(t, e.Scrape(t.Context(), prometheus()), "no policy")
		denied(t, e.Admin(t.Context(), operator()), "no policy")
		denied(t, e.Session(t.Context(), connection()), "no policy")
		if e.Policy() != nil || e.Policy().Revision() != "" {
			t.Errorf("%s: there is a policy", name)
		}
	}
	if (authz.Decision{}).Allow {
		t.Error("the zero decision allows")
	}
}

func TestEndlessEvaluationDenies(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{"register.rego": `package sallyport.register
allow if {
	input.route.path == "/boom"
	some i in numbers.range(1, 1000000)
	some j in numbers.range(1, 1000000)
	i + j < 0
}
allow if input.route.path != "/boom"`}), authz.Options{Timeout: 300 * time.Millisecond})
	in := node()
	in.Route.Path = "/boom"
	start := time.Now()
	denied(t, p.Register(t.Context(), in), "no answer within the time limit of 300ms")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	if d := p.Register(t.Context(), node()); !d.Allow {
		t.Errorf("the next decision: %+v", d)
	}
}

func TestPanicDenies(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(nil), authz.Options{MaxConcurrent: 1})
	boom := true
	p.Hook(func() {
		if boom {
			panic("boom")
		}
	})
	denied(t, p.Register(t.Context(), node()), "panic: boom")
	boom = false
	if d := p.Register(t.Context(), node()); !d.Allow {
		t.Errorf("the panic kept its slot: %+v", d)
	}
}

func TestEvaluationsWaitTheirTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := mustCompile(t, folder(nil), authz.Options{MaxConcurrent: 2})
		enter, leave := make(chan struct{}), make(chan struct{})
		p.Hook(func() { enter <- struct{}{}; <-leave })
		results := make(chan authz.Decision)
		ask := func(ctx context.Context) { results <- p.Register(ctx, node()) }

		go ask(t.Context())
		go ask(t.Context())
		<-enter
		<-enter

		cancelled, cancel := context.WithCancel(t.Context())
		go ask(cancelled)
		synctest.Wait()
		cancel()
		denied(t, <-results, "context canceled")
		denied(t, p.Register(cancelled, node()), "context canceled")

		start := time.Now()
		go ask(t.Context())
		denied(t, <-results, "no turn within 5s")
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("waited %s", waited)
		}

		go ask(t.Context())
		synctest.Wait()
		leave <- struct{}{} // one goes, the one that waits comes in
		<-enter
		leave <- struct{}{}
		leave <- struct{}{}
		for range 3 {
			if d := <-results; !d.Allow {
				t.Errorf("%+v", d)
			}
		}
	})
}

func TestDecisionsShareNothing(t *testing.T) {
	t.Parallel()
	p := builtinDefault(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			name := fmt.Sprintf("node-%d", i)
			in := node()
			in.Agent.Segments = []string{name}
			for range 20 {
				in.Route.Segments = []string{name}
				if d := p.Register(t.Context(), in); !d.Allow || d.Fault != nil {
					t.Errorf("%s: %+v", name, d)
				}
				in.Route.Segments = []string{"other"}
				if d := p.Register(t.Context(), in); d.Allow || d.Fault != nil {
					t.Errorf("%s: %+v", name, d)
				}
			}
		})
	}
	wg.Wait()
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"register.rego": `package sallyport.register
allow if input.agent.kind == "spiffe"
reasons contains sprintf("b %s", [input.agent.name])
reasons contains "a"
limits := {"max_body_bytes": 1048576, "max_inflight": 4, "max_timeout_ms": 1500, "max_routes": 9223372036854775807}
labels := {"team": input.agent.segments[0], "job": "x", "_x1": ""}
helper := to_number("x") # never asked for, so it cannot fail
`,
		"scrape.rego": `package sallyport.scrape
allow := true
labels := "a helper of the author: only register has labels"
limits := {"max_timeout_ms": 9223372036854775807}`,
	}), authz.Options{})

	d := p.Register(t.Context(), node())
	if d.Fault != nil || !d.Allow {
		t.Fatalf("%+v", d)
	}
	if want := []string{"a", "b node-1"}; !slices.Equal(d.Reasons, want) {
		t.Errorf("reasons %q, want %q", d.Reasons, want)
	}
	limits := authz.Limits{MaxBodyBytes: 1 << 20, MaxInflight: 4, MaxTimeout: 1500 * time.Millisecond, MaxRoutes: 1<<63 - 1}
	if d.Limits != limits {
		t.Errorf("limits %+v, want %+v", d.Limits, limits)
	}
	if len(d.Labels) != 3 || d.Labels["team"] != "team-a" || d.Labels["job"] != "x" {
		t.Errorf("labels %v", d.Labels)
	}
	if d.Revision != p.Revision() || len(d.Revision) != 12 {
		t.Errorf("revision %q of policy %q", d.Revision, p.Revision())
	}
	if again := p.Register(t.Context(), node()); again.ID == d.ID || len(d.ID) < 26 {
		t.Errorf("IDs %q and %q", d.ID, again.ID)
	}

	d = p.Scrape(t.Context(), prometheus())
	if !d.Allow || d.Labels != nil || d.Limits.MaxTimeout < 292*365*24*time.Hour {
		t.Errorf("scrape: %+v", d)
	}
}

// A rule may set one limit or one label, wherever it stands: a limit that nobody asks
// for is one that is not kept.
func TestAnswerInParts(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"by name":    {"register.rego": "package sallyport.register\nallow := true\nlimits.max_routes := 5\nlabels[\"team\"] := input.agent.segments[0]"},
		"by key":     {"register.rego": "package sallyport.register\nallow := true\nlimits[k] := 5 if some k in [\"max_routes\"]\nlabels[k] := \"team-a\" if some k in [\"team\"]"},
		"from above": {"register.rego": "package sallyport\nregister.allow := true\nregister.limits.max_routes := 5\nregister.labels.team := \"team-a\""},
		"of a package": {
			"register.rego": "package sallyport.register\nallow := true\nlabels.team := \"team-a\"",
			"limits.rego":   "package sallyport.register.limits\nmax_routes := 5",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := mustCompile(t, folder(files), authz.Options{}).Register(t.Context(), node())
			if !d.Allow || d.Limits != (authz.Limits{MaxRoutes: 5}) || len(d.Labels) != 1 || d.Labels["team"] != "team-a" {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestReasonsAreFitToShow(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{"register.rego": `package sallyport.register
allow := false
reasons contains input.agent.name
reasons contains input.agent.serial
reasons contains sprintf("%02d", [i]) if some i in numbers.range(1, input.state.agent_routes)`}), authz.Options{})

	in := node()
	in.State.AgentRoutes = 0
	in.Agent.Name = " two\nlines \x1b[31m\u202e\xff "
	in.Agent.Serial = strings.Repeat("é", 150)
	d := p.Register(t.Context(), in)
	// 0 to 1 counts down: the rule says "00" and "01" as well.
	want := []string{"00", "01", "two\ufffdlines \ufffd[31m\ufffd\ufffd", strings.Repeat("é", 98) + "…"}
	if !slices.Equal(d.Reasons, want) {
		t.Errorf("reasons %q, want %q", d.Reasons, want)
	}

	in.Agent.Name, in.Agent.Serial, in.State.AgentRoutes = "", "", 40
	d = p.Register(t.Context(), in)
	want = nil
	for i := range 16 {
		want = append(want, fmt.Sprintf("%02d", i+1))
	}
	if !slices.Equal(d.Reasons, want) {
		t.Errorf("reasons %q, want %q", d.Reasons, want)
	}
}

// A policy without a default rule still says why not.
func TestReasonsWithoutDefault(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{"register.rego": `package sallyport.register

allow if input.route.path == "/nowhere"

reasons contains "only /nowhere" if not allow`}), authz.Options{})
	d := p.Register(t.Context(), node())
	if d.Allow || !errors.Is(d.Fault, authz.ErrUndefined) || !slices.Equal(d.Reasons, []string{"only /nowhere"}) {
		t.Errorf("got %+v", d)
	}
}
