package authz_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authz"
)

// showing is a scrape policy whose only reason is a digest of the expression, so that
// a decision which does not follow what the expression reads shows.
func showing(expr, rules string) map[string]string {
	return map[string]string{"scrape.rego": imports("package sallyport.scrape", `
allow := true

digest(x) := crypto.sha256(json.marshal(x))

reasons contains digest(shown)

shown := `+expr+"\n\n"+rules)}
}

// imports puts those that the rules use between the package and them.
func imports(pkg, rules string) string {
	for name, line := range map[string]string{
		"lib.": "import data.lib", "rq.": "import input.request as rq", "everything": "import input as everything",
	} {
		if strings.Contains(strings.ReplaceAll(rules, "data.lib", ""), name) {
			pkg += "\n" + line
		}
	}
	return pkg + "\n" + rules + "\n"
}

// mentions are ways to the field now_ns, or to all of the input.
var mentions = []string{
	`input.now_ns`,
	`input["now_ns"]`,
	`input[concat("_", ["now", "ns"])]`,
	`[v | some v in input]`,
	`[v | v := input[_]]`,
	`{k: v | some k, v in input}`,
	`input`,
	`everything`,
	`everything.now_ns`,
	`[input][0].now_ns`,
	`{"a": {"b": input}}.a.b.now_ns`,
	`object.get(input, "now_ns", 0)`,
	`object.get(input, ["now_ns"], 0)`,
	`json.filter(input, ["now_ns"])`,
	`json.remove(input, ["proxy", "scraper", "route", "request"])`,
	`object.union(input, {"proxy": 1})`,
	`object.subset(input, {"now_ns": 1700000000000000007})`,
	`[v | walk(input, [p, v]); p == ["now_ns"]]`,
	`sprintf("%v", [input])`,
	`json.marshal({"x": [input]})`,
	`time.clock(input.now_ns)`,
	`$"{input.now_ns}"`,
	`$"{input}"`,
	`[x | some i in numbers.range(0, 63); x := input[["now_ns"][i]]]`,
	`[t | {"now_ns": t} = {"now_ns": input.now_ns}]`,
	`[t | some {"now_ns": t, "proxy": _, "scraper": _, "request": _, "route": _, "schema": _, "action": _} in [input]]`,
}

// hidings put the mention E out of sight.
var hidings = []struct{ name, expr, rules string }{
	{"plain", `E`, ``},
	{"rule", `h`, `h := E`},
	{"default", `h`, "default h := 0\nh := E"},
	{"body", `h`, `h := x if { x := E }`},
	{"unification", `h`, `h := x if { [x, 1] = [E, 1] }`},
	{"else", `h`, `h := 1 if { input.route.path == "" } else := 2 if { input.route.owner == "x" } else := E`},
	{"else body", `h`, `h := 1 if { input.route.path == "" } else := x if { x := E }`},
	{"function", `f(1)`, `f(_) := E`},
	{"function of a function", `f(1)`, "f(x) := g(x)\ng(_) := E"},
	{"argument", `f(E)`, `f(x) := x`},
	{"argument by pattern", `f({"a": E})`, `f({"a": x}) := x`},
	{"else of a function", `f(1)`, "f(x) := x if { x == 2 } else := E"},
	{"array comprehension", `[x | x := E]`, ``},
	{"set comprehension", `{x | x := E}`, ``},
	{"object comprehension", `{"a": x | x := E}`, ``},
	{"key of an object comprehension", `{json.marshal(x): 1 | x := E}`, ``},
	{"nested comprehension", `[y | y := [x | x := {z | z := E}]]`, ``},
	{"every", `h`, `h := [i | some i in numbers.range(0, 63); every x in [E] { substring(digest(x), i, 1) < "8" }]`},
	{"domain of every", `h`, `h := [i | some i in numbers.range(0, 63); every x in [digest(E)] { substring(x, i, 1) < "8" }]`},
	{"not", `h`, `h := [i | some i in numbers.range(0, 63); not substring(digest(E), i, 1) < "8"]`},
	{"not a rule", `h`, `h := [i | some i in numbers.range(0, 63); not low(i)]
		low(i) if substring(digest(E), i, 1) < "8"`},
	{"set", `h`, `h contains x if { x := E }`},
	{"member of a set", `[x | some x in h]`, `h contains E`},
	{"object", `h`, `h["a"] := E`},
	{"key of an object", `h`, `h[k] := 1 if { k := digest(E) }`},
	{"expression as the key", `h`, `h[digest(E)] := 1`},
	{"deep name", `h.a.b`, `h.a.b := E`},
	{"variable in a deep name", `h.x.b`, `h[k].b := E if { some k in ["x", "y"] }`},
	{"set in an object", `h.x`, `h[k] contains E if { some k in ["x", "y"] }`},
	{"neighbour under a variable", `h`, "h.b := 1\nh[k] := E if { some k in [\"x\"] }"},
	{"with a part of the input", `[x | x := h with input.proxy.id as "x"]`, `h := E`},
	{"with another part of the input", `[x | x := h with input.request.timeout_ms as 1]`, `h := E`},
	{"as a part of the input", `[x | x := h with input.proxy.id as json.marshal(E)]`, `h := input.proxy.id`},
	{"as the input", `[x | x := h with input as {"a": E}]`, `h := input`},
	{"as data", `[x | x := h with data.stub as E]`, `h := data.stub`},
	{"as a rule", `[x | x := h with g as E]`, "h := g\ng := 1"},
	{"in place of a function", `[x | x := h with f as g]`, "h := f(1)\nf(_) := 1\ng(_) := E"},
	{"in place of a builtin", `[x | x := h with abs as g]`, "h := abs(1)\ng(_) := E"},
	{"in place of a function in another package", `[x | x := lib.h with lib.f as g]`, "g(_) := E"},
	{"another package", `lib.hidden`, ``},
	{"function of another package", `lib.hiding(1)`, ``},
	{"all of another package", `data.lib`, ``},
	{"dynamic rule", `[x | some k in ["hidden"]; x := data.lib[k]]`, ``},
	{"dynamic package", `[x | some p in ["lib"]; x := data[p].hidden]`, ``},
	{"dynamic path", `[x | some p in ["sub"]; some k in ["hidden"]; x := data.lib[p][k]]`, ``},
	{"any rule", `[x | x := data.lib[_]]`, ``},
	{"walk", `[x | walk(data.lib, [p, x]); p == ["hidden"]]`, ``},
	{"object.get on a package", `object.get(data.lib.sub, "hidden", 0)`, ``},
	{"package below", `lib.sub.hidden`, ``},
	{"from above", `data.lib.sub`, ``},
	{"condition alone", `h`, `h := [i | some i in numbers.range(0, 63); low[i]]
		low[i] if { some i in numbers.range(0, 63); substring(digest(E), i, 1) < "8" }`},
	{"conjunction", `h`, `h := [x | a := E; b := a; c := [b]; x := c[0]]`},
	{"template", `$"{h}"`, `h := json.marshal(E)`},
}

func hide(mention, expr, rules string) map[string]string {
	in := func(s string) string { return strings.ReplaceAll(s, "E", mention) }
	files := showing(in(expr), in(rules))
	if !strings.Contains(expr, "lib") {
		return files
	}
	if strings.Contains(expr, "sub.") || strings.Contains(expr, "sub,") || strings.Contains(expr, "sub\"") || strings.HasSuffix(expr, "sub") {
		files["sub.rego"] = in("package lib.sub\n\nhidden := E\n")
		return files
	}
	files["lib.rego"] = "package lib\n\nh := f(1)\n\nf(_) := 1\n"
	if !strings.Contains(expr, "lib.f") {
		files["lib.rego"] += in("\nhidden := E\n\nhiding(_) := E\n")
	}
	return files
}

// However a policy gets at the time, each scrape is decided at its own.
func TestTimeIsSeenHoweverHidden(t *testing.T) {
	t.Parallel()
	try := func(name, mention, expr, rules string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := mustCompile(t, folder(hide(mention, expr, rules)), authz.Options{})
			if _, cached := p.ScrapeReads(); cached {
				t.Error("the decisions are kept")
			}
			in := prometheus()
			first := p.Scrape(t.Context(), in)
			// All but the hash of "no such bit" differ between these times.
			in.Now = in.Now.Add(1000 * time.Hour)
			second := p.Scrape(t.Context(), in)
			if first.Fault != nil || second.Fault != nil || len(first.Reasons) != 1 {
				t.Fatalf("%+v, then %+v", first, second)
			}
			if slices.Equal(first.Reasons, second.Reasons) {
				t.Error("the decision does not follow the time")
			}
		})
	}
	for _, mention := range mentions {
		try(mention, mention, `E`, ``)
	}
	for _, h := range hidings {
		for _, mention := range []string{`input.now_ns`, `object.get(input, "now_ns", 0)`, `input[["now_ns"][_]]`} {
			try(h.name+"/"+mention, mention, h.expr, h.rules)
		}
	}
}

// variations are scrapes that differ from [prometheus] in the named field.
func variations() map[string][]authz.ScrapeInput {
	all := make(map[string][]authz.ScrapeInput)
	vary := func(name string, changes ...func(*authz.ScrapeInput)) {
		for _, change := range changes {
			in := prometheus()
			change(&in)
			all[name] = append(all[name], in)
		}
	}
	vary("now_ns", func(in *authz.ScrapeInput) { in.Now = in.Now.Add(1) })
	vary("proxy.id", func(in *authz.ScrapeInput) { in.Proxy.ID = "" })
	vary("proxy.trust_domain", func(in *authz.ScrapeInput) { in.Proxy.TrustDomain = "" })
	vary("scraper.id", func(in *authz.ScrapeInput) { in.Scraper.ID += "x" })
	vary("scraper.kind", func(in *authz.ScrapeInput) { in.Scraper.Kind = "jwt" })
	vary("scraper.trust_domain", func(in *authz.ScrapeInput) { in.Scraper.TrustDomain = "" })
	vary("scraper.segments",
		func(in *authz.ScrapeInput) { in.Scraper.Segments = nil },
		func(in *authz.ScrapeInput) { in.Scraper.Segments = []string{"prome", "theus"} },
		func(in *authz.ScrapeInput) { in.Scraper.Segments = []string{"prometheus", ""} })
	vary("scraper.remote_ip", func(in *authz.ScrapeInput) { in.Scraper.RemoteIP = "192.0.2.3" })
	vary("request.query",
		func(in *authz.ScrapeInput) { in.Request.Query = nil },
		func(in *authz.ScrapeInput) { in.Request.Query = map[string][]string{"collect[]": {"disk", "cpu"}} },
		func(in *authz.ScrapeInput) { in.Request.Query = map[string][]string{"collect[]": {"cpu"}} },
		func(in *authz.ScrapeInput) { in.Request.Query = map[string][]string{"collect[]": {"cpu", "disk", ""}} },
		func(in *authz.ScrapeInput) {
			in.Request.Query = map[string][]string{"collect[]": {"cpu", "disk"}, "": nil}
		})
	vary("request.timeout_ms", func(in *authz.ScrapeInput) { in.Request.Timeout += time.Millisecond })
	vary("route.path", func(in *authz.ScrapeInput) { in.Route.Path = "/team-a/nod" })
	vary("route.segments",
		func(in *authz.ScrapeInput) { in.Route.Segments = []string{"team-a"} },
		func(in *authz.ScrapeInput) { in.Route.Segments = []string{"team-an", "ode"} })
	vary("route.owner", func(in *authz.ScrapeInput) { in.Route.Owner = "" })
	vary("route.labels",
		func(in *authz.ScrapeInput) { in.Route.Labels = nil },
		func(in *authz.ScrapeInput) { in.Route.Labels = map[string]string{"env": "dev"} },
		func(in *authz.ScrapeInput) { in.Route.Labels = map[string]string{"envp": "rod"} },
		func(in *authz.ScrapeInput) { in.Route.Labels = map[string]string{"env": "prod", "x": ""} })
	return all
}

// Every field of the input has its place in the analysis and its part in the key: one
// that is added to the document and forgotten here fails.
func TestEveryFieldHasAPlace(t *testing.T) {
	t.Parallel()
	schema, err := authz.SchemaOf("scrape")
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	var collect func(prefix string, schema map[string]any)
	collect = func(prefix string, schema map[string]any) {
		properties, fixed := schema["properties"].(map[string]any)
		if !fixed {
			fields = append(fields, prefix)
		}
		for name, property := range properties {
			collect(strings.TrimPrefix(prefix+"."+name, "."), property.(map[string]any))
		}
	}
	collect("", schema.(map[string]any))
	slices.Sort(fields)

	all := variations()
	var varied []string
	for name := range all {
		varied = append(varied, name)
	}
	constant := []string{"action", "schema"}
	if want := slices.Sorted(slices.Values(append(constant, varied...))); !slices.Equal(fields, want) {
		t.Errorf("the schema has %q, the variations %q", fields, want)
	}

	base := prometheus()
	for name, inputs := range all {
		p := mustCompile(t, folder(showing("input."+name, "")), authz.Options{})
		reads, cached := p.ScrapeReads()
		if !slices.Equal(reads, []string{name}) {
			t.Errorf("%s: reads %q", name, reads)
		}
		if name == "now_ns" {
			if cached {
				t.Error("decisions that depend on the time are kept")
			}
			continue
		}
		keys := [][]byte{authz.ScrapeKey(base, name)}
		for _, in := range inputs {
			keys = append(keys, authz.ScrapeKey(in, name))
		}
		slices.SortFunc(keys, slices.Compare)
		if n := len(slices.CompactFunc(keys, slices.Equal)); n != len(inputs)+1 {
			t.Errorf("%s: %d keys for %d inputs", name, n, len(inputs)+1)
		}
	}
}

// A scrape that differs in what the policy reads is decided anew, one that differs in
// anything else is not.
func TestFieldsReadAreKeptApart(t *testing.T) {
	t.Parallel()
	tests := []struct {
		expr  string
		reads []string
	}{
		{`1`, []string{}},
		{`[input.schema, input.action]`, []string{}},
		{`input.route.path`, []string{"route.path"}},
		{`input["route"]["path"]`, []string{"route.path"}},
		{`input.scraper`, []string{"scraper.id", "scraper.kind", "scraper.trust_domain", "scraper.segments", "scraper.remote_ip"}},
		{`input.proxy`, []string{"proxy.id", "proxy.trust_domain"}},
		{`input.scraper.segments[0]`, []string{"scraper.segments"}},
		{`[s | s := input.scraper.segments[_]]`, []string{"scraper.segments"}},
		{`input.route.labels.env`, []string{"route.labels"}},
		{`[x | some k in ["labels", "owner"]; x := input.route[k]]`, []string{"route.path", "route.segments", "route.owner", "route.labels"}},
		{`object.get(input.route, "owner", "")`, []string{"route.path", "route.segments", "route.owner", "route.labels"}},
		{`json.marshal(input.request)`, []string{"request.query", "request.timeout_ms"}},
		{`[rq.query, rq.timeout_ms]`, []string{"request.query", "request.timeout_ms"}},
		{`rq.query["collect[]"]`, []string{"request.query"}},
		{`[v | walk(input.request, [p, v]); p[0] == "timeout_ms"]`, []string{"request.query", "request.timeout_ms"}},
		{`[x | some name in input.request.query["collect[]"]; x := input.route.labels[name]]`, []string{"request.query", "route.labels"}},
		{`count(input.request.query)`, []string{"request.query"}},
		{`{"a": input.scraper.remote_ip, "b": input.route.owner}`, []string{"scraper.remote_ip", "route.owner"}},
		{`net.cidr_contains("192.0.2.2/32", input.scraper.remote_ip)`, []string{"scraper.remote_ip"}},
		{`[x | x := input.route.path with input.proxy.id as input.route.owner]`, []string{"proxy.id", "route.path", "route.owner"}},
	}
	for _, tt := range tests {
		t.Run(tt.expr, func(t *testing.T) {
			t.Parallel()
			files := folder(showing(tt.expr, ""))
			p := mustCompile(t, files, authz.Options{})
			fresh := mustCompile(t, files, authz.Options{CacheEntries: -1})
			if reads, cached := p.ScrapeReads(); !cached || !slices.Equal(reads, tt.reads) {
				t.Errorf("kept is %t, reads %q, want %q", cached, reads, tt.reads)
			}
			base := p.Scrape(t.Context(), prometheus())
			for name, inputs := range variations() {
				for i, in := range inputs {
					got, want := p.Scrape(t.Context(), in), fresh.Scrape(t.Context(), in)
					if !slices.Equal(got.Reasons, want.Reasons) || got.Fault != nil {
						t.Errorf("%s %d: got %+v, want %+v", name, i, got, want)
					}
					if kept := got.ID == base.ID; kept == slices.Contains(tt.reads, name) {
						t.Errorf("%s %d: kept is %t", name, i, kept)
					}
				}
			}
		})
	}
}

// What other questions read, and what tests do, has no part in a scrape.
func TestReadsAreThoseOfAScrape(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"scrape.rego":   "package sallyport.scrape\n\nallow if input.scraper.id == data.who\n\nhelper := input.now_ns\n",
		"register.rego": "package sallyport.register\n\nallow if input.now_ns < input.agent.not_after_ns\n",
		"scrape_test.rego": "package sallyport.scrape_test\n\nimport data.sallyport.scrape\n\n" +
			"test_helper if scrape.helper == 1 with input as {\"now_ns\": 1}\n",
		"data.json": `{"who": "spiffe://example.org/prometheus"}`,
	}), authz.Options{})
	if reads, cached := p.ScrapeReads(); !cached || !slices.Equal(reads, []string{"scraper.id"}) {
		t.Errorf("kept is %t, reads %q", cached, reads)
	}
}

// The rules of other files that add to what the proxy asks for count as its own, and
// so do those which a limit or a reason alone reaches.
func TestReadsCoverEveryAnswer(t *testing.T) {
	t.Parallel()
	const allow = "package sallyport.scrape\n\nallow := true\n"
	for name, files := range map[string]map[string]string{
		"reasons": {"scrape.rego": allow, "more.rego": "package sallyport.scrape\n\nreasons contains json.marshal(input.now_ns)\n"},
		"limits":  {"scrape.rego": allow, "more.rego": "package sallyport.scrape\n\nlimits := {\"max_inflight\": 1 + (input.now_ns % 1000)}\n"},
		"part of the limits": {"scrape.rego": allow,
			"more.rego": "package sallyport.scrape\n\nlimits.max_inflight := 1 + (input.now_ns % 1000)\n"},
		"from the package above": {"scrape.rego": allow,
			"more.rego": "package sallyport\n\nscrape.reasons contains json.marshal(input.now_ns)\n"},
		"allow": {"scrape.rego": "package sallyport.scrape\n\nallow if input.now_ns % 2 == 0\n"},
		"any of two": {"scrape.rego": "package sallyport.scrape\n\nallow if input.route.path == \"/x\"\n",
			"more.rego": "package sallyport.scrape\n\nallow if input.now_ns % 2 == 0\n"},
	} {
		p := mustCompile(t, folder(files), authz.Options{})
		if reads, cached := p.ScrapeReads(); cached || !slices.Contains(reads, "now_ns") {
			t.Errorf("%s: kept is %t, reads %q", name, cached, reads)
		}
	}
}

func TestClocksAreTakenAway(t *testing.T) {
	t.Parallel()
	for _, call := range []string{
		`time.now_ns()`, `crypto.x509.parse_and_verify_certificates("x")`,
		`crypto.x509.parse_and_verify_certificates_with_options("x", {})`,
		`io.jwt.decode_verify("x", {})`, `rand.intn("x", 2)`, `uuid.rfc4122("x")`, `opa.runtime()`,
	} {
		mustNotCompile(t, folder(map[string]string{
			"scrape.rego": "package sallyport.scrape\n\nallow if " + call + "\n",
		}), "undefined function", "scrape.rego:3")
	}
}
