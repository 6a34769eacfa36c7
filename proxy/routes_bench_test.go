package proxy

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// BenchmarkRegister is a session that registers 10,000 routes and withdraws them, with
// a policy that costs nothing, at a proxy that has many routes of others: what a route
// costs must not grow with those. A batch is as large as an agent's.
func BenchmarkRegister(b *testing.B) {
	const routes, batch = 10_000, 100
	for _, others := range []int{10, 1_000, 200_000} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			p, _, s := newStaged(b)
			p.routes.perSession, p.routes.claims, p.paces.offers = others+routes, math.MaxInt32, maxOffers
			other := &session{id: "o", routes: make(map[string]*grant), outbox: s.outbox, lanes: s.lanes}
			for i := range others {
				g := newGrant(other, claimOf(fmt.Sprintf("/other/%d", i)), authz.Decision{})
				if err := p.routes.register(g, func() bool { return true }); err != nil {
					b.Fatal(err)
				}
			}
			offers, paths := make([][]*tunnelv1.Route, routes/batch), make([][]string, routes/batch)
			for i := range routes {
				path := fmt.Sprintf("/team/%d", i)
				offers[i/batch], paths[i/batch] = append(offers[i/batch], claimOf(path)), append(paths[i/batch], path)
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, offer := range offers {
					p.register(b.Context(), s, offer)
				}
				for _, withdrawn := range paths {
					p.withdraw(s, withdrawn)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/routes, "ns/route")
		})
	}
}

// BenchmarkSweep is what a proxy does every 15 s while nothing can be looked up: to
// forget what is long gone. It must not look at what is served.
func BenchmarkSweep(b *testing.B) {
	for _, routes := range []int{10, 200_000} {
		b.Run(fmt.Sprint("routes=", routes), func(b *testing.B) {
			p, _, s := newStaged(b)
			p.routes.perSession, p.routes.claims = routes, math.MaxInt32
			for i := range routes {
				g := newGrant(s, claimOf(fmt.Sprintf("/team/%d", i)), authz.Decision{})
				if err := p.routes.register(g, func() bool { return true }); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				p.routes.prune(time.Now())
				p.routes.count()
			}
		})
	}
}
