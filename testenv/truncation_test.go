package testenv_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/testenv"
)

// A body that the target cuts, at whatever offset and in whatever encoding, is
// never seen as a whole answer.
func TestCutBodyNeverLooksWhole(t *testing.T) {
	t.Parallel()
	plain := testenv.Exposition(200_000)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(plain)
	_ = z.Close()
	type variant struct {
		name, encoding string
		accept         string
		chunked        bool
		body           []byte
	}
	variants := []variant{
		{"length", "", "", false, plain}, {"chunked", "", "", true, plain},
		{"gzip-length", "gzip", "gzip", false, b.Bytes()}, {"gzip-chunked", "gzip", "gzip", true, b.Bytes()},
		{"squeezed-length", "", "gzip", false, plain}, {"squeezed-chunked", "", "gzip", true, plain},
	}
	w := testenv.Start(t, testenv.Config{})
	var routes []agent.Target
	type scrape struct{ path, accept string }
	var scrapes []scrape
	for _, v := range variants {
		for _, cut := range []int{0, 1, 1000, 31<<10 - 1, 31 << 10, 31<<10 + 1, 64 << 10, len(v.body) / 2, len(v.body) - 1} {
			if cut >= len(v.body) {
				continue
			}
			path := fmt.Sprintf("/team-a/node/%s/%d", v.name, cut)
			routes = append(routes, testenv.Route(path, cutTarget(t, v.body, v.encoding, v.chunked, cut).URL))
			scrapes = append(scrapes, scrape{path, v.accept})
		}
	}
	w.Agent("team-a/node", routes...)
	scraper := w.Scraper("prometheus")
	for _, s := range scrapes {
		var headers []string
		if s.accept != "" {
			headers = []string{"Accept-Encoding", s.accept}
		}
		answer := scraper.Get(s.path, headers...)
		if answer.Err == nil && answer.Status == http.StatusOK {
			t.Errorf("%s: %d bytes looked whole", s.path, len(answer.Body))
		}
		if answer.Err == nil && answer.Status != http.StatusBadGateway {
			t.Errorf("%s: %d %s", s.path, answer.Status, answer.Outcome)
		}
	}
}

// cutTarget sends the body up to an offset and breaks the connection.
func cutTarget(t *testing.T, body []byte, encoding string, chunked bool, cut int) *testenv.Target {
	return testenv.NewTarget(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", testenv.Text)
		if encoding != "" {
			w.Header().Set("Content-Encoding", encoding)
		}
		if !chunked {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		_, _ = w.Write(body[:cut])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
}

// What is over the limit, with its length said or not, is never seen as whole
// either.
func TestOverTheLimitNeverLooksWhole(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	const limit = 1 << 20
	a := w.StartAgent("team-a/node", testenv.AgentConfig{Change: func(c *agent.Config) { c.MaxResponseBytes = limit }},
		testenv.Route("/team-a/node/at", testenv.Stream(t, limit).URL),
		testenv.Route("/team-a/node/over", testenv.Stream(t, limit+1).URL),
		testenv.Route("/team-a/node/far", testenv.Stream(t, 8*limit).URL))
	a.WaitReady()
	scraper := w.Scraper("prometheus")
	for _, encoding := range []string{"", "gzip"} {
		if answer := scraper.Get("/team-a/node/at", "Accept-Encoding", encoding); answer.Err != nil || answer.Status != 200 {
			t.Errorf("at the limit: %d %v", answer.Status, answer.Err)
		}
		for _, path := range []string{"/team-a/node/over", "/team-a/node/far"} {
			if answer := scraper.Get(path, "Accept-Encoding", encoding); answer.Err == nil && answer.Status == 200 {
				t.Errorf("%s: %d bytes looked whole", path, len(answer.Body))
			}
		}
	}
}
