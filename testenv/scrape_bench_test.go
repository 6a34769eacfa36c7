package testenv_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// BenchmarkScrape is one scrape through proxy and agent, TLS on both sides and a
// decision each time, all in one process with scraper and target.
func BenchmarkScrape(b *testing.B) {
	for _, size := range []int{2 << 10, 100 << 10, 5 << 20} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			w := testenv.Start(b, testenv.Config{})
			w.Agent("team-a/node", testenv.Route("/team-a/node/app", testenv.Body(b, testenv.Exposition(size)).URL))
			benchmarkGet(b, w.Scraper("prometheus"), "/team-a/node/app", size)
		})
	}
}

// BenchmarkScrapeRoutes is a small scrape while the agent holds many routes: the
// cost must not grow with them.
func BenchmarkScrapeRoutes(b *testing.B) {
	for _, count := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			w := testenv.Start(b, testenv.Config{Proxy: func(c *proxy.Config) { c.MaxRoutesPerSession = count }})
			target := testenv.Metrics(b)
			var routes []agent.Target
			for i := range count {
				routes = append(routes, testenv.Route(fmt.Sprintf("/team-a/node/%d", i), target.URL))
			}
			w.Agent("team-a/node", routes...)
			benchmarkGet(b, w.Scraper("prometheus"), "/team-a/node/7", 2000)
		})
	}
}

// BenchmarkScrapeSessions is a small scrape while the proxy has many sessions: the cost
// must not grow with them. They are of one process with the proxy, so that their own
// keepalives are in the figures.
func BenchmarkScrapeSessions(b *testing.B) {
	for _, count := range []int{1, 100, 5000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			w := testenv.Start(b, testenv.Config{Proxy: func(c *proxy.Config) { c.MaxSessionsPerIdentity = count }})
			target := testenv.Metrics(b)
			source := w.Keep(w.Files(w.Leaf(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a")}), w.CA), authn.Client)
			direct := testenv.AgentConfig{Source: source, Change: func(c *agent.Config) { c.ProxyAddrs = []string{w.Proxy.TunnelAddr} }}
			agents := make([]*testenv.Agent, count)
			for i := range agents {
				agents[i] = w.StartAgent("team-a", direct, testenv.Route(fmt.Sprintf("/team-a/%d", i), target.URL))
				if i%100 == 0 {
					agents[i].WaitReady() // no herd: that is another matter
				}
			}
			b.Cleanup(func() { // all at once: to drain one takes half a second
				for _, a := range agents {
					a.Drain()
				}
			})
			testenv.EventuallyWithin(b, 2*time.Minute, func() error {
				if have := w.Proxy.Metric("sallyport_proxy_routes", "state", "served"); have != float64(count) {
					return fmt.Errorf("%v routes are served of %d", have, count)
				}
				return nil
			})
			benchmarkGet(b, w.Scraper("prometheus"), fmt.Sprintf("/team-a/%d", count/2), 2000)
		})
	}
}

func benchmarkGet(b *testing.B, scraper *testenv.Scraper, path string, size int) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			response, err := scraper.Client.Get(scraper.URL(path))
			if err != nil {
				b.Error(err)
				return
			}
			n, err := io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if err != nil || response.StatusCode != http.StatusOK || n < int64(size) {
				b.Errorf("%s, %d bytes, %v", response.Status, n, err)
				return
			}
		}
	})
}
