package proxy

import (
	"fmt"
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

// BenchmarkBrowse is what a page of the dashboard costs a proxy of many routes, by one
// who watches: the first hundred, all counted, and a search that finds nothing.
func BenchmarkBrowse(b *testing.B) {
	for _, count := range []int{10_000, 200_000} {
		p := &Proxy{routes: newTable(count)}
		for i := range count {
			path := fmt.Sprintf("/team-%03d/node-%04d/exporter", i%997, i)
			r := &route{path: path, grants: []*grant{{session: &session{agent: "web"}}}}
			r.remember(ended{began: time.Now(), outcome: OK})
			p.routes.routes[path] = r
		}
		p.order()
		for name, do := range map[string]func(){
			"count":  func() { p.CountRoutes(RouteQuery{}) },
			"search": func() { p.Browse(RouteQuery{Search: "nowhere", Limit: 100}) },
		} {
			b.Run(fmt.Sprint(name, "/", count), func(b *testing.B) {
				for b.Loop() {
					do()
				}
			})
		}
	}
}
