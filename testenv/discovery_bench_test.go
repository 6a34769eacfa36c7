package testenv_test

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"testing"
	"testing/fstest"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// BenchmarkDiscovery is one list of targets, read to its end. A policy that reads the
// time is asked of each route anew, as any policy is the first time; otherwise its
// decisions are kept. A route's share must not grow with their number.
func BenchmarkDiscovery(b *testing.B) {
	timed := fstest.MapFS{
		"register.rego": {Data: []byte("package sallyport.register\n\nallow := true\n")},
		"scrape.rego":   {Data: []byte("package sallyport.scrape\n\nallow if {\n\tinput.scraper.segments[0] == \"prometheus\"\n\tinput.now_ns > 0\n}\n")},
	}
	for name, policy := range map[string]fs.FS{"kept": nil, "anew": timed} {
		for _, routes := range []int{10, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/routes=%d", name, routes), func(b *testing.B) { benchmarkDiscovery(b, policy, routes) })
		}
	}
}

func benchmarkDiscovery(b *testing.B, policy fs.FS, routes int) {
	w := listed(b, policy, func(c *proxy.Config) { c.MaxRoutesPerSession = routes })
	target := testenv.Metrics(b).URL
	var targets []agent.Target
	for i := range routes {
		targets = append(targets, agent.Target{Path: fmt.Sprintf("/x/%d", i), URL: target, Labels: map[string]string{"zone": "eu-1", "rack": "r7"}})
	}
	w.Agent("x", targets...)
	scraper := w.Scraper("prometheus")
	if listed := mustList(b, scraper); len(listed) != routes {
		b.Fatalf("%d routes are listed", len(listed))
	}
	b.ReportAllocs()
	for b.Loop() {
		response, err := scraper.Client.Get(scraper.URL(discovery))
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			b.Fatalf("%s, %d bytes, %v", response.Status, n, err)
		}
		b.SetBytes(n)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(routes), "ns/route")
}
