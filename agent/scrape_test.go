package agent_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/seed-951114d4/sallyport/agent"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

func TestScrape(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		w.Write([]byte("up 1\n"))
	}))
	defer target.Close()
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: target.URL + "/metrics"}}})
	lane := r.lane(t)
	for range 3 {
		if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 10000}); err != nil {
			t.Fatal(err)
		}
		a, err := lane.collect(true)
		t.Log(a, err)
	}
}
