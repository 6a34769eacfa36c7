package policies_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"

	"github.com/seed-951114d4/sallyport/authz"
)

// prodOf is the data of that many grants, scrapers and entries of the denylist. Nobody
// of these is asked for; who is stands in the middle of them.
func prodOf(tb testing.TB, grants int) string {
	tb.Helper()
	type object = map[string]any
	agents, scrapers, ids, serials, keys := object{}, object{}, object{}, object{}, object{}
	for i := range grants {
		agents[fmt.Sprintf("spiffe://example.org/team-%d/node", i)] = object{"paths": object{
			fmt.Sprintf("/team-%d/*", i): object{
				"limits": object{"max_inflight": 4},
				"labels": object{"team": fmt.Sprintf("team-%d", i)},
			},
		}}
		scrapers[fmt.Sprintf("spiffe://example.org/team-%d/prometheus", i)] = object{"paths": object{
			fmt.Sprintf("/team-%d/*", i): object{},
		}}
		ids[fmt.Sprintf("spiffe://example.org/gone/%d", i)] = "gone"
		serials[fmt.Sprintf("01%08x", i)] = "gone"
		keys[fmt.Sprintf("%064x", i)] = "gone"
	}
	content, err := json.Marshal(object{
		"grants": agents, "scrapers": scrapers, "admins": object{},
		"revoked": object{"ids": ids, "serials": serials, "spki_sha256": keys},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return string(content)
}

// A decision of prod looks up the few patterns that can match, so it must cost the
// same at every size. The cache for scrapes is off.
func BenchmarkProd(b *testing.B) {
	for _, grants := range []int{10, 1_000, 10_000} {
		p := compile(b, "prod", "data.json", prodOf(b, grants))
		who := fmt.Sprintf("spiffe://example.org/team-%d", grants/2)
		path := fmt.Sprintf("/team-%d/node/exporter", grants/2)
		other := "/team-x/node/exporter"

		b.Run(fmt.Sprintf("register/grants=%d", grants), func(b *testing.B) {
			benchmark(b, true, func() authz.Decision { return p.Register(b.Context(), offer(who+"/node", path)) })
		})
		b.Run(fmt.Sprintf("register-in-a-row/grants=%d", grants), func(b *testing.B) {
			benchmark(b, true, inARow(b, p, offer(who+"/node", path)))
		})
		b.Run(fmt.Sprintf("register-denied/grants=%d", grants), func(b *testing.B) {
			benchmark(b, false, func() authz.Decision { return p.Register(b.Context(), offer(who+"/node", other)) })
		})
		b.Run(fmt.Sprintf("scrape/grants=%d", grants), func(b *testing.B) {
			benchmark(b, true, func() authz.Decision { return p.Scrape(b.Context(), request(who+"/prometheus", path)) })
		})
		b.Run(fmt.Sprintf("session/grants=%d", grants), func(b *testing.B) {
			benchmark(b, true, func() authz.Decision { return p.Session(b.Context(), session(who+"/node")) })
		})
	}
}

// What a decision costs grows with the depth of the names instead.
func BenchmarkProdDepth(b *testing.B) {
	p := compile(b, "prod", "data.json",
		`{"grants": {"spiffe://example.org/*": {"paths": {"/*": {}}}}, "scrapers": {},
		  "revoked": {"ids": {}, "serials": {}, "spki_sha256": {}}}`)
	for _, depth := range []int{1, 4, 16, 64} {
		path := ""
		for range depth {
			path += "/a"
		}
		b.Run(fmt.Sprintf("segments=%d", depth), func(b *testing.B) {
			in := offer("spiffe://example.org"+path, path)
			benchmark(b, true, func() authz.Decision { return p.Register(b.Context(), in) })
		})
	}
}

func BenchmarkBuiltins(b *testing.B) {
	for _, name := range []string{"default", "dev", "staging"} {
		p := compile(b, name)
		b.Run(name+"/register", func(b *testing.B) {
			in := offer("spiffe://example.org/team-a/node", "/team-a/node/exporter")
			benchmark(b, true, func() authz.Decision { return p.Register(b.Context(), in) })
		})
		b.Run(name+"/register-in-a-row", func(b *testing.B) {
			benchmark(b, true, inARow(b, p, offer("spiffe://example.org/team-a/node", "/team-a/node/exporter")))
		})
		b.Run(name+"/scrape", func(b *testing.B) {
			in := request("spiffe://example.org/prometheus", "/team-a/node/exporter")
			benchmark(b, true, func() authz.Decision { return p.Scrape(b.Context(), in) })
		})
	}
}

// inARow decides on one of the many routes that an agent offers at once.
func inARow(b *testing.B, p *authz.Policy, in authz.RegisterInput) func() authz.Decision {
	subject := authz.NewSubject(in.Agent, in.Proxy)
	return func() authz.Decision {
		return p.Register(b.Context(), subject.Register(in.Route, in.State, in.Now))
	}
}

func benchmark(b *testing.B, allow bool, decide func() authz.Decision) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if d := decide(); d.Allow != allow || d.Fault != nil {
			b.Fatalf("%+v", d)
		}
	}
}

// BenchmarkProdCompile also reports what the policy holds in memory once it is loaded.
func BenchmarkProdCompile(b *testing.B) {
	for _, grants := range []int{10, 1_000, 10_000} {
		fsys := folder(b, "prod", "data.json", prodOf(b, grants))
		b.Run(fmt.Sprintf("grants=%d", grants), func(b *testing.B) {
			var p *authz.Policy
			before := heap()
			for b.Loop() {
				var err error
				if p, err = authz.Compile(b.Context(), fsys, authz.Options{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(heap()-before)/(1<<20), "MiB-held")
			runtime.KeepAlive(p)
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
