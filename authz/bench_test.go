package authz_test

import (
	"io/fs"
	"runtime"
	"strconv"
	"testing"
	"testing/fstest"

	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/policies"
)

func BenchmarkRegister(b *testing.B) {
	p, in := builtinDefault(b), node()
	b.ReportAllocs()
	for b.Loop() {
		if !p.Register(b.Context(), in).Allow {
			b.Fatal("denied")
		}
	}
}

// BenchmarkRegisterInARow is one of the many routes that an agent offers at once.
func BenchmarkRegisterInARow(b *testing.B) {
	p, in := builtinDefault(b), node()
	subject := authz.NewSubject(in.Agent, in.Proxy)
	b.ReportAllocs()
	for b.Loop() {
		if !p.Register(b.Context(), subject.Register(in.Route, in.State, in.Now)).Allow {
			b.Fatal("denied")
		}
	}
}

func BenchmarkRegisterDenied(b *testing.B) {
	p, in := builtinDefault(b), node()
	in.Route.Segments = []string{"team-b"}
	b.ReportAllocs()
	for b.Loop() {
		if p.Register(b.Context(), in).Allow {
			b.Fatal("allowed")
		}
	}
}

// BenchmarkScrape is a scrape that was decided before, and one that is evaluated.
func BenchmarkScrape(b *testing.B) {
	scrapes(b, func(b *testing.B, p *authz.Policy, in authz.ScrapeInput) {
		for b.Loop() {
			if !p.Scrape(b.Context(), in).Allow {
				b.Fatal("denied")
			}
		}
	})
}

func BenchmarkScrapeParallel(b *testing.B) {
	scrapes(b, func(b *testing.B, p *authz.Policy, in authz.ScrapeInput) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if !p.Scrape(b.Context(), in).Allow {
					b.Error("denied")
				}
			}
		})
	})
}

func scrapes(b *testing.B, run func(*testing.B, *authz.Policy, authz.ScrapeInput)) {
	folder, ok := policies.Builtin("default")
	if !ok {
		b.Fatal("no default policy")
	}
	byAll := fstest.MapFS{
		"register.rego": &fstest.MapFile{Data: []byte(denyRegister)},
		"scrape.rego": &fstest.MapFile{Data: []byte("package sallyport.scrape\n\nallow if {\n" +
			"count([input.proxy, input.scraper, input.request, input.route]) == 4\n}\n")},
	}
	for _, bench := range []struct {
		name    string
		folder  fs.FS
		entries int
	}{
		{"cached", folder, 0},
		{"cached by all fields", byAll, 0},
		{"evaluated", folder, -1},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p := mustCompile(b, bench.folder, authz.Options{CacheEntries: bench.entries})
			b.ReportAllocs()
			run(b, p, prometheus())
		})
	}
}

// BenchmarkScrapeMissed is a scrape that nobody asked for before: what the cache costs
// where it does not help.
func BenchmarkScrapeMissed(b *testing.B) {
	p, in := mustCompile(b, folder(map[string]string{"scrape.rego": "package sallyport.scrape\n\n" +
		"allow if input.route.path != \"\"\n"}), authz.Options{}), prometheus()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		in.Route.Path = "/route-" + strconv.Itoa(i)
		if !p.Scrape(b.Context(), in).Allow {
			b.Fatal("denied")
		}
	}
}

// BenchmarkCacheEntry says what a full cache takes per decision.
func BenchmarkCacheEntry(b *testing.B) {
	p, in := builtinDefault(b), prometheus()
	const entries = 20_000
	id := in.Scraper.ID
	for b.Loop() {
		var before, after runtime.MemStats
		p = mustCompile(b, folder(map[string]string{"scrape.rego": "package sallyport.scrape\n\n" +
			"allow if { input.scraper.id != \"\"; input.route.path != \"\"; input.route.owner != \"\" }\n"}), authz.Options{})
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range entries {
			in.Route.Path, in.Scraper.ID = "/team-a/route-"+strconv.Itoa(i), id
			p.Scrape(b.Context(), in)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/entries, "B/entry")
	}
	runtime.KeepAlive(p)
}

func BenchmarkSession(b *testing.B) {
	p, in := builtinDefault(b), connection()
	b.ReportAllocs()
	for b.Loop() {
		if !p.Session(b.Context(), in).Allow {
			b.Fatal("denied")
		}
	}
}

func BenchmarkDocument(b *testing.B) {
	b.Run("register", func(b *testing.B) {
		in := node()
		b.ReportAllocs()
		for b.Loop() {
			in.Document()
		}
	})
	b.Run("scrape", func(b *testing.B) {
		in := prometheus()
		b.ReportAllocs()
		for b.Loop() {
			in.Document()
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	folder, ok := policies.Builtin("default")
	if !ok {
		b.Fatal("no default policy")
	}
	b.ReportAllocs()
	for b.Loop() {
		mustCompile(b, folder, authz.Options{})
	}
}
