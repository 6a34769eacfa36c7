package authz_test

import (
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/policies"
)

// same wants the two decisions to differ in nothing but the ID.
func same(t *testing.T, what string, got, want authz.Decision) {
	t.Helper()
	if (got.Fault == nil) != (want.Fault == nil) || got.Fault != nil && got.Fault.Error() != want.Fault.Error() {
		t.Errorf("%s: fault %v, alone %v", what, got.Fault, want.Fault)
	}
	got.ID, got.Fault, want.ID, want.Fault = "", nil, "", nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %+v, alone %+v", what, got, want)
	}
}

// rows are routes and states that a policy may tell apart, in an order in which what
// was concluded of one is there for the next.
func rows() []authz.RegisterInput {
	var all []authz.RegisterInput
	for _, path := range []string{"/team-a/node", "/team-b", "/team-a/node/disks", "/boom", "/team-a/node2", "/team-a/node"} {
		in := node()
		in.Route.Path, in.Route.Segments = path, strings.Split(path[1:], "/")
		in.State.AgentRoutes = len(all)
		in.Now = in.Now.Add(1)
		all = append(all, in)
	}
	return all
}

// Whatever a policy is like, the decisions on a subject are those that would be made
// one by one and on the whole document, in any order and at once.
func TestSubjectDecidesAlike(t *testing.T) {
	t.Parallel()
	folders := make(map[string]fs.FS)
	for _, name := range policies.Names() {
		folders["builtin:"+name], _ = policies.Builtin(name)
	}
	folders["prod with grants"] = overlay(folders["builtin:prod"], "data.json", `{
		"grants": {"spiffe://example.org/team-a/*": {"paths": {"~/*": {"labels": {"by": "home"}}, "/team-b": {}}}},
		"scrapers": {}, "revoked": {"ids": {}, "serials": {}, "spki_sha256": {}}}`)
	folders["prod revoked"] = overlay(folders["builtin:prod"], "data.json", `{
		"grants": {"spiffe://example.org/*": {"paths": {"/*": {}}}},
		"scrapers": {}, "revoked": {"ids": {}, "serials": {"0a1b": "lost"}, "spki_sha256": {}}}`)
	// What must ask for a value has contains, not == or startswith: those OPA answers from
	// its index of rules, without a look at what is known.
	for name, rego := range map[string]string{
		"input replaced": `allow if ours with input.agent as {"id": input.route.path}
			ours if input.agent.id == "/team-b"
			reasons contains "ours" if ours
			reasons contains "not ours" if not ours`,
		"input replaced for the first route alone": `allow if { input.route.path == "/team-a/node"; ours with input.agent as {"id": "evil"} }
			allow if { input.route.path != "/team-a/node"; ours }
			ours if contains(input.agent.id, "evil")`,
		"data replaced": `allow if not listed
			listed if data.list[input.agent.id]
			reasons contains "listed" if listed with data.list as {input.agent.id: input.route.path == "/team-b"}`,
		"undefined": `allow if { known; input.route.path != "/boom" }
			reasons contains "unknown" if not known
			known := x if { x := input.agent.name; x == "nobody" }`,
		"conflict": `allow if who == "a"
			who := "a" if startswith(input.agent.id, "spiffe")
			who := "b" if input.route.path == "/boom"`,
		"conflict about the agent": `allow if { who == "a"; input.route.path == "/team-b" }
			who := "a" if startswith(input.agent.id, "spiffe")
			who := "b" if endswith(input.agent.id, "/team-a/node")`,
		"failing builtin": `allow if { not number; input.route.path != "/team-b" }
			number if { input.route.path == "/boom"; to_number(input.agent.id) }`,
		"state": `allow if few
			few if input.state.agent_routes < 3
			limits := {"max_routes": input.state.agent_routes + 1}`,
		"time":   `allow if late` + "\n" + `late if input.now_ns > 1700000000000000009`,
		"dotted": "allow if of.agent.ok\nof.agent.ok if input.agent.kind == \"spiffe\"\nof[x].ok if x := input.route.segments[1]",
		"part of an object": `allow if table[input.route.path]
			table[p] if { some p in ["/team-b", input.agent.id] }`,
		"labels and target": `allow if input.route.target.port == 9100
			labels := {"from": input["route"].labels["env"]}`,
		"keys at run time": `allow if { some part in input.route; count(part) > 0; some name in ["target", "state"]; input[name] }
			reasons contains sprintf("%v", [v]) if { some k in ["route", "state"]; v := input[k] }`,
		"whole input": `allow if { walk(input, [["state", "total_routes"], 70]); object.get(input, ["route", "target", "host"], "") != "" }`,
		"function": `allow if f(input.route.path)
			f(x) if { startswith(x, "/team"); steady }
			steady if input.agent.kind == "spiffe"`,
		"function replaced": `allow if steady with f as g
			steady if f(input.agent.id)
			f(x) if x == ""
			g(x) if x != ""
			reasons contains "steady" if steady`,
	} {
		folders[name] = folder(map[string]string{"register.rego": "package sallyport.register\n" + rego})
	}
	folders["shared with sessions"] = folder(map[string]string{
		"register.rego": "package sallyport.register\nallow if offering\noffering if contains(input.action, \"reg\")",
		"session.rego":  "package sallyport.session\nallow if not data.sallyport.register.offering",
	})
	for name, fsys := range folders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := mustCompile(t, fsys, authz.Options{})
			all := rows()
			subject := authz.NewSubject(all[0].Agent, all[0].Proxy)
			var wg sync.WaitGroup
			for range 3 {
				for i, in := range all {
					same(t, in.Route.Path, p.Register(t.Context(), in), p.Explain(t.Context(), in).Decision)
					same(t, in.Route.Path+" in a row", p.Register(t.Context(), subject.Register(in.Route, in.State, in.Now)), p.Explain(t.Context(), in).Decision)
					wg.Go(func() {
						in := all[len(all)-1-i]
						same(t, in.Route.Path+" at once", p.Register(t.Context(), subject.Register(in.Route, in.State, in.Now)), p.Explain(t.Context(), in).Decision)
					})
				}
				session := authz.SessionInput{Agent: all[0].Agent, Proxy: all[0].Proxy, Now: all[0].Now}
				same(t, "session", p.Session(t.Context(), subject.Session(session.Now)), p.Session(t.Context(), session))
			}
			wg.Wait()
			for _, in := range all {
				if got, want := subject.Register(in.Route, in.State, in.Now).Digest(), in.Digest(); got != want {
					t.Errorf("%s: digest %s, alone %s", in.Route.Path, got, want)
				}
			}
		})
	}
}

// What one policy concluded of a subject is nothing to the next.
func TestSubjectOfAnotherPolicy(t *testing.T) {
	t.Parallel()
	in := node()
	subject := authz.NewSubject(in.Agent, in.Proxy)
	for i := range 4 {
		allow := i%2 == 0
		p := mustCompile(t, folder(map[string]string{"register.rego": fmt.Sprintf(
			"package sallyport.register\nallow if ours\nours if input.agent.kind == %q", map[bool]string{true: "spiffe", false: "dns"}[allow])}), authz.Options{})
		for range 2 {
			if d := p.Register(t.Context(), subject.Register(in.Route, in.State, in.Now)); d.Allow != allow || d.Revision != p.Revision() {
				t.Errorf("policy %d: %+v", i, d)
			}
		}
	}
}

// What rules conclude of the agent alone is made out once, also that they give nothing;
// all that the route or the time has a part in, each time.
func TestSubjectRemembers(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{"register.rego": `package sallyport.register
		allow if { ours; not other; below; named == ["node-1"] }
		ours if input.agent.trust_domain == input.proxy.trust_domain
		other if count(input.agent.segments) > 7
		below if input.route.segments[0] == input.agent.segments[0]
		named := [name | name := input.agent.name]
		reasons contains sprintf("%d", [input.now_ns]) if false`}), authz.Options{})
	want := []string{"data.sallyport.register.named", "data.sallyport.register.other", "data.sallyport.register.ours"}
	if got := p.Steady(); !reflect.DeepEqual(got, append(want, "data.sallyport.scrape.allow")) {
		t.Errorf("steady are %q", got)
	}
	in := node()
	subject := authz.NewSubject(in.Agent, in.Proxy)
	p.Register(t.Context(), subject.Register(in.Route, in.State, in.Now))
	if got := subject.Known(); !reflect.DeepEqual(got, want) {
		t.Errorf("known are %q, want %q", got, want)
	}
}

// overlay is the policy in fsys with another file in the place of its own; its tests
// stay away.
func overlay(fsys fs.FS, name, content string) fs.FS {
	m := make(fstest.MapFS)
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.rego") {
			return err
		}
		data, err := fs.ReadFile(fsys, path)
		m[path] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		panic(err)
	}
	m[name] = &fstest.MapFile{Data: []byte(content)}
	return m
}
