package authz_test

import (
	"testing"

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

func BenchmarkScrape(b *testing.B) {
	p, in := builtinDefault(b), prometheus()
	b.ReportAllocs()
	for b.Loop() {
		if !p.Scrape(b.Context(), in).Allow {
			b.Fatal("denied")
		}
	}
}

func BenchmarkScrapeParallel(b *testing.B) {
	p, in := builtinDefault(b), prometheus()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !p.Scrape(b.Context(), in).Allow {
				b.Error("denied")
			}
		}
	})
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
