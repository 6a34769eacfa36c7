package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// A path that can be no route's is answered as ever, and the operator learns what is wrong
// with it: a job without metrics_path asks for /metrics, and nothing else told of that.
func TestMalformedPathsAreToldOf(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	leaf := w.Leaf(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")})
	conn := dial(t, w, leaf)
	in := bufio.NewReader(conn)
	ask := func(path string) string {
		t.Helper()
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer.Header.Del("Date")
		var text bytes.Buffer
		if err := answer.Write(&text); err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	absent := ask("/team-a/nowhere")
	for path, why := range map[string]string{
		"/team-a/node/exporter/":               "the path ends in a slash",
		"//team-a":                             "it is not in the form of a path: the path has an empty segment",
		"/a%20b":                               "it is not in the form of a path: the path has the byte '%'",
		"/":                                    "does the scrape job lack metrics_path?",
		"/metrics":                             "/metrics is the proxy's own word: does the scrape job lack metrics_path?",
		"/-/nothing":                           "paths under /- are the proxy's own",
		"/x\u202e<b>":                          "it is not in the form of a path",
		"/" + strings.Repeat("a/", 1000) + "b": "it is not in the form of a path: the path has 2002 bytes",
	} {
		if got := ask(path + "?x=secret"); got != absent {
			t.Errorf("%q: %q, and of an absent one %q", path, got, absent)
		}
		r := w.Proxy.Refusals()[0]
		if r.Action != "scrape" || r.Effect != "refused" || !strings.Contains(r.Why, why) || !r.Standing || len(r.Route) > 512 || strings.ContainsFunc(r.Route, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%q is remembered as %+v", path, r)
		}
		if !strings.Contains(w.Logs.String(), fmt.Sprintf("reason=%q", r.Why)) || strings.Contains(r.Route, "secret") {
			t.Errorf("%q: %q is not in the log", path, r.Why)
		}
	}
}

// Who has proved nothing is remembered nowhere, and who asks for ever more takes others'
// place neither on the page nor in the log.
func TestMalformedPathsOfStrangers(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Proxy: func(c *proxy.Config) { c.ClientAuth = proxy.ClientAuthOptional }})
	if a := w.ScraperWith(nil).Get("/metrics"); a.Status != http.StatusUnauthorized {
		t.Fatalf("%+v", a)
	}
	if all := w.Proxy.Refusals(); len(all) != 0 {
		t.Errorf("of a stranger: %+v", all)
	}
	w.Scraper("quiet").Get("/metrics")
	loud := w.Scraper("loud")
	for i := range 1200 {
		loud.Get(fmt.Sprint("/", i, "/"))
	}
	w.Scraper("prometheus").Get("/metrics")
	of := make(map[string]int)
	for _, r := range w.Proxy.Refusals() {
		of[r.Identity]++
	}
	if of[testenv.ID("quiet")] != 1 || of[testenv.ID("prometheus")] != 1 || of[testenv.ID("loud")] > 16 {
		t.Errorf("remembered: %v", of)
	}
	if !strings.Contains(w.Logs.String(), "scraper="+testenv.ID("prometheus")) {
		t.Error("the log tells of nobody else any more")
	}
}

// The line of a scrape that the policy denies says by which decision, and why.
func TestDeniedScrapeNamesItsDecision(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	w.Agent("team-a/node", testenv.Route(path, testenv.Metrics(t).URL))
	w.Scraper("curious").Get(path)
	r := w.Proxy.Refusals()[0]
	for line := range strings.Lines(w.Logs.String()) {
		if strings.Contains(line, `msg="scrape denied by policy"`) {
			if !strings.Contains(line, "decision="+r.Decision) || !strings.Contains(line, "reasons=") || !strings.Contains(line, "curious") {
				t.Error(line)
			}
			return
		}
	}
	t.Error("no such line")
}

// What is shown of a malformed path holds no secret: a query that stands in metrics_path
// comes with its mark escaped, and who takes the proxy for an HTTP proxy sends a password.
func TestMalformedPathsHoldNoSecret(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	conn := dial(t, w, w.Leaf(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")}))
	in := bufio.NewReader(conn)
	for _, target := range []string{"/team-a/probe%3Ftarget=x&token=s3cret", "/team-a/probe%3ftoken=s3cret", "http://user:s3cret@target:9100/metrics"} {
		if _, err := io.WriteString(conn, "GET "+target+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d, %v", target, answer.StatusCode, err)
		}
	}
	if refusals := w.Proxy.Refusals(); len(refusals) != 2 || strings.Contains(fmt.Sprintf("%+v", refusals), "s3cret") {
		t.Errorf("remembered: %+v", refusals)
	}
	if strings.Contains(w.Logs.String(), "s3cret") {
		t.Error("the log has it")
	}
}
