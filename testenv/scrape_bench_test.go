package testenv_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/seed-951114d4/sallyport/agent"
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
	for _, count := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			w := testenv.Start(b, testenv.Config{})
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
