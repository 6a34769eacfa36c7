package proxy_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

const (
	path    = "/team-a/node/app"
	timeout = "X-Prometheus-Scrape-Timeout-Seconds"
)

// world has one agent, which may register below /team-a/node, and a scraper that
// may read it.
func world(t *testing.T, targets ...agent.Target) (*testenv.World, *testenv.Scraper) {
	t.Helper()
	w := testenv.Start(t, testenv.Config{})
	w.Agent("team-a/node", targets...)
	return w, w.Scraper("prometheus")
}

func TestScrapeIsVerbatim(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 500, 30 << 10, 31 << 10, 31<<10 + 1, 1 << 20} {
		body := testenv.Exposition(size)[:size]
		w, scraper := world(t, testenv.Route(path, testenv.Body(t, body).URL))
		answer := scraper.Get(path)
		if answer.Err != nil || answer.Status != 200 || !bytes.Equal(answer.Body, body) {
			t.Fatalf("%d bytes: status %d, %d bytes, %v", size, answer.Status, len(answer.Body), answer.Err)
		}
		if got := answer.Header.Get("Content-Type"); got != testenv.Text {
			t.Errorf("%d bytes: content type %q", size, got)
		}
		testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_scrapes_total", "outcome", "ok")
	}
}

func TestTargetsOwnCodePasses(t *testing.T) {
	t.Parallel()
	target := testenv.NewTarget(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "collector failed", http.StatusInternalServerError)
	})
	_, scraper := world(t, testenv.Route(path, target.URL))
	answer := scraper.Get(path)
	if answer.Status != 500 || answer.Outcome != "target_status" || string(answer.Body) != "collector failed\n" {
		t.Errorf("got %d %q %q", answer.Status, answer.Outcome, answer.Body)
	}
}

// Every way in which a scrape fails before its head has a status and a word.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	html := testenv.NewTarget(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>")
	})
	redirect := testenv.NewTarget(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
	})
	w := testenv.Start(t, testenv.Config{Proxy: func(c *proxy.Config) { c.MaxResponse = 1 << 20 }})
	scraper := w.Scraper("prometheus")
	targets := map[string]string{
		"up": testenv.Metrics(t).URL, "slow": testenv.Slow(t).URL, "html": html.URL, "redirect": redirect.URL,
		"down": "http://127.0.0.1:1/metrics", "huge": testenv.Body(t, make([]byte, 1<<20+1)).URL,
		"garbage": testenv.Raw(t, "SSH-2.0-OpenSSH\r\n").URL, "hangs-up": testenv.Raw(t, "").URL,
		"lies": testenv.Raw(t, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nshort").URL,
	}
	var routes []agent.Target
	for name, url := range targets {
		routes = append(routes, testenv.Route("/team-a/node/"+name, url))
	}
	w.Agent("team-a/node", routes...)

	for _, tt := range []struct {
		path    string
		headers []string
		status  int
		outcome string
	}{
		{path: "down", status: 502, outcome: "target_unreachable"},
		{path: "garbage", status: 502, outcome: "target_rejected"},
		{path: "hangs-up", status: 502, outcome: "target_unreachable"},
		{path: "lies", status: 502, outcome: "target_unreachable"},
		{path: "html", status: 502, outcome: "target_rejected"},
		{path: "redirect", status: 502, outcome: "target_rejected"},
		{path: "huge", status: 502, outcome: "too_large"},
		{path: "slow", headers: []string{timeout, "4"}, status: 504, outcome: "target_timeout"},
		{path: "up?collect[]=cpu", status: 400, outcome: "bad_request"},
		{path: "up?a=%zz", status: 400, outcome: "bad_request"},
		{path: "up?a;b", status: 400, outcome: "bad_request"},
		{path: "up", headers: []string{timeout, "soon"}, status: 400, outcome: "bad_request"},
		{path: "up", headers: []string{timeout, "-1"}, status: 400, outcome: "bad_request"},
		{path: "up", headers: []string{timeout, "NaN"}, status: 400, outcome: "bad_request"},
		{path: "nothing", status: 404, outcome: "not_found"},
		{path: "up/", status: 404, outcome: "not_found"},
		{path: "/up", status: 404, outcome: "not_found"},
		{path: "%75p", status: 404, outcome: "not_found"},
		{path: "x/../up", status: 404, outcome: "not_found"},
		{path: "UP", status: 404, outcome: "not_found"},
	} {
		answer := scraper.Get("/team-a/node/"+tt.path, tt.headers...)
		if answer.Status != tt.status || answer.Outcome != tt.outcome || answer.Err != nil {
			t.Errorf("%s %v: %d %s %q %v, want %d %s", tt.path, tt.headers, answer.Status, answer.Outcome, answer.Body, answer.Err, tt.status, tt.outcome)
		}
		if strings.Count(string(answer.Body), "\n") != 1 {
			t.Errorf("%s: %q is not one line", tt.path, answer.Body)
		}
		if strings.Contains(string(answer.Body), "127.0.0.1") {
			t.Errorf("%s: %q tells where the target is", tt.path, answer.Body)
		}
	}
	for _, method := range []string{"HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"} {
		if answer := scraper.Do(context.Background(), method, path); answer.Status != 405 || answer.Outcome != "method" {
			t.Errorf("%s: %d %q", method, answer.Status, answer.Outcome)
		}
	}
	request, _ := http.NewRequest(http.MethodGet, scraper.URL("/team-a/node/up"), strings.NewReader("body"))
	response, err := scraper.Client.Do(request)
	if err != nil || response.StatusCode != 400 {
		t.Errorf("with a body: %v %v", response, err)
	}
	response.Body.Close()
}

// The line of an error says what and why, nothing twice, and whose it is to change.
func TestOutcomeTexts(t *testing.T) {
	t.Parallel()
	redirect := testenv.NewTarget(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
	})
	sick := testenv.NewTarget(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	w := testenv.Start(t, testenv.Config{Proxy: func(c *proxy.Config) { c.MaxResponse = 1 << 20 }})
	w.Agent("team-a/node", testenv.Route("/team-a/node/up", testenv.Metrics(t).URL), testenv.Route("/team-a/node/redirect", redirect.URL),
		testenv.Route("/team-a/node/huge", testenv.Body(t, make([]byte, 1<<20+1)).URL), testenv.Route("/team-a/node/down", "http://127.0.0.1:1/metrics"),
		testenv.Route("/team-a/node/sick", sick.URL))
	scraper := w.Scraper("prometheus")
	for path, want := range map[string]string{
		"up?foo=1": `the target does not take this query: "foo" is not among the params of its entry in the targets file`,
		"redirect": "the agent refuses the target: it redirects (status 302), which is not followed",
		"huge":     "the body is too large: more than 1MiB, the limit that the proxy set: the proxy's SALLYPORT_MAX_RESPONSE_BYTES of 1048576 bytes",
		"down":     "the target is unreachable: connection refused",
	} {
		if answer := scraper.Get("/team-a/node/" + path); string(answer.Body) != want+"\n" {
			t.Errorf("%s: %q, want %q", path, answer.Body, want)
		}
	}
	scraper.Get("/team-a/node/sick")
	testenv.Eventually(t, func() error {
		if !strings.Contains(w.Logs.String(), "the target answered with status 418") {
			return errors.New("the log does not say which status the target answered with")
		}
		return nil
	})
}

// Absent and refused are the same bytes, so that a scraper cannot find out what
// there is.
func TestNotFoundTellsNothing(t *testing.T) {
	t.Parallel()
	w, allowed := world(t, testenv.Route(path, testenv.Metrics(t).URL))
	refused := w.Scraper("curious")
	var answers []string
	for _, answer := range []testenv.Answer{
		refused.Get(path), refused.Get("/team-a/node/absent"), refused.Get("//"), refused.Get("/-/other"), allowed.Get("/absent"), allowed.Get("/metrics"),
	} {
		answer.Header.Del("Date")
		answers = append(answers, fmt.Sprint(answer.Status, answer.Header, string(answer.Body), answer.Err))
	}
	for _, answer := range answers[1:] {
		if answer != answers[0] {
			t.Errorf("%s\n differs from\n%s", answer, answers[0])
		}
	}
}

func TestAgentsCertificateReadsNothing(t *testing.T) {
	t.Parallel()
	w, _ := world(t, testenv.Route(path, testenv.Metrics(t).URL))
	if answer := w.Scraper("team-a/node").Get(path); answer.Status != 404 {
		t.Errorf("an agent's own identity got %d", answer.Status)
	}
}

func TestScraperWithoutCertificate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		auth   proxy.ClientAuth
		status int // 0: the handshake fails
	}{{proxy.ClientAuthRequire, 0}, {proxy.ClientAuthOptional, 401}, {proxy.ClientAuthNone, 404}} {
		w := testenv.Start(t, testenv.Config{Proxy: func(c *proxy.Config) { c.ClientAuth = tt.auth }})
		w.Agent("team-a/node", testenv.Route(path, testenv.Metrics(t).URL))
		answer := w.ScraperWith(nil).Get(path)
		if answer.Status != tt.status || (tt.status == 0) != (answer.Err != nil) {
			t.Errorf("%s: %d %s %v", tt.auth, answer.Status, answer.Outcome, answer.Err)
		}
	}
}

func TestHeadersThatCross(t *testing.T) {
	t.Parallel()
	target := testenv.Metrics(t)
	_, scraper := world(t, testenv.Route(path, target.URL))
	scraper.Get(path, "Accept", "application/openmetrics-text;version=1.0.0", "Accept-Encoding", "gzip", "User-Agent", "Prometheus/3.0",
		timeout, "7.5", "Authorization", "Bearer secret", "Cookie", "a=b", "X-Forwarded-For", "10.0.0.1", "Proxy-Authorization", "x")
	have := target.Last()
	for name, want := range map[string]string{
		"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip", "User-Agent": "Prometheus/3.0",
		"Authorization": "", "Cookie": "", "X-Forwarded-For": "", "Proxy-Authorization": "",
	} {
		if got := have.Header.Get(name); got != want {
			t.Errorf("%s reached the target as %q, want %q", name, got, want)
		}
	}
	if left := have.Header.Get(timeout); left == "" || left >= "7.5" {
		t.Errorf("the target was given %q seconds", left)
	}
	if strings.Contains(have.Host, scraper.URL("")[len("https://"):]) {
		t.Errorf("the scraper's Host %q reached the target", have.Host)
	}
}

// A lane's agent is not told again what it knows: yet each scrape has its own headers.
func TestHeadersOfEachScrape(t *testing.T) {
	t.Parallel()
	target := testenv.Metrics(t)
	w := testenv.Start(t, testenv.Config{})
	w.StartAgent("team-a/node", testenv.AgentConfig{Change: func(c *agent.Config) { c.MaxConcurrentScrapes = 1 }},
		testenv.Route(path, target.URL)).WaitReady()
	scraper := w.Scraper("prometheus")
	for i, accept := range []string{"text/plain", "text/plain", "", "", "application/openmetrics-text", "text/plain", ""} {
		if accept == "" {
			scraper.Get(path, "User-Agent", "none")
		} else {
			scraper.Get(path, "Accept", accept, "User-Agent", "one", "Accept-Encoding", "gzip")
		}
		have := target.Last().Header
		if have.Get("Accept") != accept || (have.Get("User-Agent") == "one") != (accept != "") || (have.Get("Accept-Encoding") == "gzip") != (accept != "") {
			t.Errorf("scrape %d with Accept %q reached the target with %q", i, accept, have)
		}
	}
}

// The scraper that hangs up frees the target, and the lane serves on.
func TestScraperHangsUp(t *testing.T) {
	t.Parallel()
	for _, head := range []bool{false, true} {
		gate := testenv.NewGate(t, head)
		w, scraper := world(t, testenv.Route(path, gate.URL))
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-gate.Arrived(); cancel() }()
		if answer := scraper.Do(ctx, http.MethodGet, path); !errors.Is(answer.Err, context.Canceled) {
			t.Fatalf("got %d %v", answer.Status, answer.Err)
		}
		select {
		case <-gate.Abandoned():
		case <-time.After(10 * time.Second):
			t.Fatal("the target was left waiting")
		}
		testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_scrapes_total", "outcome", "cancelled")
		gate.Open()
		if answer := scraper.Get(path); answer.Status != 200 || answer.Err != nil {
			t.Errorf("the next scrape: %d %s %v", answer.Status, answer.Body, answer.Err)
		}
	}
}

// A scraper that reads nothing holds its own lane and nobody else's.
func TestStalledScraperHarmsNobody(t *testing.T) {
	t.Parallel()
	w, scraper := world(t, testenv.Route(path, testenv.Metrics(t).URL), testenv.Route("/team-a/node/big", testenv.Stream(t, 32<<20).URL))
	for range 3 {
		stalled := w.Scraper("prometheus/stalled")
		response, err := stalled.Client.Get(stalled.URL("/team-a/node/big"))
		if err != nil || response.StatusCode != 200 {
			t.Fatal(response, err)
		}
		defer response.Body.Close()
	}
	results := make(chan testenv.Answer, 100)
	for range cap(results) {
		go func() { results <- scraper.Get(path, timeout, "10") }()
	}
	for range cap(results) {
		if answer := <-results; answer.Status != 200 || answer.Err != nil {
			t.Errorf("%d %s %v", answer.Status, answer.Body, answer.Err)
		}
	}
}

// Many scrapes at once get their own answers.
func TestAnswersDoNotCross(t *testing.T) {
	t.Parallel()
	echo := testenv.NewTarget(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", testenv.Text)
		fmt.Fprintf(w, "# %s\n%s", r.URL.RawQuery, strings.Repeat("#"+r.URL.RawQuery+"\n", 5000))
	})
	target := testenv.Route(path, echo.URL)
	target.Params = []string{"n"}
	_, scraper := world(t, target)
	results := make(chan error, 500)
	for i := range cap(results) {
		go func() {
			answer := scraper.Get(fmt.Sprintf("%s?n=%d", path, i))
			want := fmt.Sprintf("# n=%d\n%s", i, strings.Repeat(fmt.Sprintf("#n=%d\n", i), 5000))
			if answer.Status != 200 || string(answer.Body) != want {
				results <- fmt.Errorf("scrape %d: %d, %d bytes, %v", i, answer.Status, len(answer.Body), answer.Err)
				return
			}
			results <- nil
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestDNSScraper(t *testing.T) {
	t.Parallel()
	w, _ := world(t, testenv.Route(path, testenv.Metrics(t).URL))
	good := w.ScraperWith(w.Leaf(pki.Request{Role: pki.Scraper, DNSNames: []string{"prometheus.example.org"}}))
	if answer := good.Get(path); answer.Status != 200 {
		t.Errorf("prometheus.example.org: %d %v", answer.Status, answer.Err)
	}
	other := w.ScraperWith(w.Leaf(pki.Request{Role: pki.Scraper, DNSNames: []string{"grafana.example.org"}}))
	if answer := other.Get(path); answer.Status != 404 {
		t.Errorf("grafana.example.org: %d %v", answer.Status, answer.Err)
	}
}

// A parameter that is not UTF-8 cannot cross the tunnel, and costs no lane.
func TestQueryThatIsNotUTF8(t *testing.T) {
	t.Parallel()
	_, scraper := world(t, agent.Target{Path: path, URL: testenv.Metrics(t).URL, Params: []string{"x"}})
	for _, query := range []string{"?x=%ff", "?%ff=x"} {
		if answer := scraper.Get(path + query); answer.Status != 400 || answer.Outcome != "bad_request" {
			t.Errorf("%s: %d %q %s", query, answer.Status, answer.Outcome, answer.Body)
		}
	}
}

// The limit is on what the target sends: that gzip adds to what does not compress
// cuts no body.
func TestBodyThatGrows(t *testing.T) {
	t.Parallel()
	const limit = 200_000
	body := make([]byte, limit)
	_, _ = rand.Read(body)
	w := testenv.Start(t, testenv.Config{Proxy: func(c *proxy.Config) { c.MaxResponse = limit }})
	w.Agent("team-a/node", testenv.Route(path, testenv.Body(t, body).URL))
	answer := w.Scraper("prometheus").Get(path, "Accept-Encoding", "gzip")
	if answer.Err != nil || answer.Status != 200 || len(answer.Body) <= limit {
		t.Errorf("%d, %d bytes, %v", answer.Status, len(answer.Body), answer.Err)
	}
}
