package agent_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/seed-951114d4/sallyport/agent"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// Most exporters send their metrics in chunks of 2 KiB, and many scrapes go over one
// connection: what is read ahead belongs to the body it is of.
func TestBodyInSmallChunksArrivesWhole(t *testing.T) {
	t.Parallel()
	sizes := []int{1, 4 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300_000}
	next := make(chan int, 1)
	url := startTarget(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for rest := metricsText(<-next); len(rest) > 0; {
			n := min(2048, len(rest))
			w.Write(rest[:n])
			rest = rest[n:]
		}
	})
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	lane := r.lane(t)
	for range 3 {
		for _, size := range sizes {
			next <- size
			a := scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/a"})
			if a.end.GetCode() != tunnelv1.End_COMPLETE || !bytes.Equal(a.body, metricsText(size)) {
				t.Errorf("%d bytes: %v, %d bytes", size, a.end, len(a.body))
			}
		}
	}
}
