package proxy

import (
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
)

// BenchmarkRemember is all that a scrape pays for being told of later.
func BenchmarkRemember(b *testing.B) {
	r := &route{path: "/a"}
	e := ended{began: time.Now(), outcome: OK, size: 2000, scraper: authn.AnonymousIdentity()}
	b.ReportAllocs()
	for b.Loop() {
		r.remember(e)
	}
}
