package testenv_test

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/policies"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

const discovery = "/-/discovery"

// group is a target group as Prometheus reads it.
type group struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// listed is a world whose proxy lists at once, under a policy; nil: builtin:default.
func listed(tb testing.TB, policy fs.FS, change func(*proxy.Config)) *testenv.World {
	tb.Helper()
	return testenv.Start(tb, testenv.Config{Policy: policy, Proxy: func(c *proxy.Config) {
		c.Warmup, c.ScrapeURL = 0, "https://proxy.example.org"
		if change != nil {
			change(c)
		}
	}})
}

// builtin is a policy that ships.
func builtin(tb testing.TB, name string) fs.FS {
	tb.Helper()
	policy, ok := policies.Builtin(name)
	if !ok {
		tb.Fatalf("no builtin:%s", name)
	}
	return policy
}

// list is what a scraper is shown, by route.
func list(scraper *testenv.Scraper) (map[string]group, error) {
	answer := scraper.Get(discovery)
	if answer.Err != nil || answer.Status != http.StatusOK {
		return nil, fmt.Errorf("%d %s %q %w", answer.Status, answer.Outcome, answer.Body, answer.Err)
	}
	if kind := answer.Header.Get("Content-Type"); kind != "application/json" {
		return nil, fmt.Errorf("the content type is %q", kind)
	}
	var groups []group
	if err := json.Unmarshal(answer.Body, &groups); err != nil || groups == nil {
		return nil, fmt.Errorf("%q: %w", answer.Body, err)
	}
	routes := make(map[string]group)
	for _, g := range groups {
		path := g.Labels["__metrics_path__"]
		if _, twice := routes[path]; twice {
			return nil, fmt.Errorf("%s is listed twice", path)
		}
		routes[path] = g
	}
	return routes, nil
}

func mustList(tb testing.TB, scraper *testenv.Scraper) map[string]group {
	tb.Helper()
	routes, err := list(scraper)
	if err != nil {
		tb.Fatal(err)
	}
	return routes
}

// Each scraper is listed what it may scrape, to the byte, and nothing tells it of
// anything else; nor is what it is not shown an event.
func TestDiscoveryIsFiltered(t *testing.T) {
	t.Parallel()
	w := listed(t, builtin(t, "staging"), nil)
	target := testenv.Metrics(t).URL
	w.Agent("team-a/node", agent.Target{Path: "/team-a/b", URL: target, Labels: map[string]string{"zone": "eu-1", "team": "team-b"}},
		testenv.Route("/team-a/a", target))
	w.Agent("team-b/node", testenv.Route("/team-b/secret", target))
	const ofA = `{"targets":["proxy.example.org:443"],"labels":{` +
		`"__meta_sallyport_agent_id":"spiffe://example.org/team-a/node","__meta_sallyport_agent_name":"team-a/node","__meta_sallyport_up":"1",` +
		`"__metrics_path__":"/team-a/%[1]s","__scheme__":"https","env":"staging","instance":"team-a/%[1]s","team":"team-a"%s}}`
	want := "[" + fmt.Sprintf(ofA, "a", "") + "\n," + fmt.Sprintf(ofA, "b", `,"zone":"eu-1"`) + "\n]\n"
	for id, want := range map[string]string{"team-a/prometheus": want, "team-a/node": "[]\n", "stranger": "[]\n"} {
		answer := w.Scraper(id).Get(discovery)
		if answer.Status != 200 || string(answer.Body) != want {
			t.Errorf("%s is answered %d\n%s\nwant\n%s", id, answer.Status, answer.Body, want)
		}
		if have := answer.Header.Get("Content-Length"); have != strconv.Itoa(len(want)) {
			t.Errorf("the length is %q", have)
		}
	}
	if all := mustList(t, w.Scraper("prometheus")); len(all) != 3 {
		t.Errorf("Prometheus is listed %v", all)
	}
	if denied := w.Audit.Events("scrape", authz.Denied); len(denied) > 0 {
		t.Errorf("the audit log has %v", denied)
	}
	for result, want := range map[string]float64{"allow": 2 + 3, "deny": 1 + 3 + 3, "fault": 0} {
		testenv.WaitMetric(w, w.Proxy, want, "sallyport_proxy_decisions_total", "action", "discovery", "result", result)
	}
	testenv.WaitMetric(w, w.Proxy, 4, "sallyport_proxy_discoveries_total", "outcome", "ok")
	testenv.WaitMetric(w, w.Proxy, 4, "sallyport_proxy_discovery_duration_seconds")
	testenv.WaitMetric(w, w.Proxy, 0, "sallyport_proxy_scrape_duration_seconds")
}

// Every policy that ships lists what it lets one scrape, and only that.
func TestDiscoveryUnderBuiltinPolicies(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"default": 1, "dev": 1, "staging": 1, "prod": 0} {
		policy := builtin(t, name)
		w := listed(t, policy, nil)
		agent := w.StartAgent("team-a", testenv.AgentConfig{}, testenv.Route("/team-a/node", testenv.Metrics(t).URL))
		if want > 0 {
			agent.WaitReady()
		}
		scraper := w.Scraper("prometheus")
		testenv.Eventually(t, func() error {
			routes, err := list(scraper)
			if err == nil && len(routes) != want {
				err = fmt.Errorf("builtin:%s lists %v", name, routes)
			}
			return err
		})
		if status := scraper.Get("/team-a/node").Status; (status == 200) != (want > 0) {
			t.Errorf("builtin:%s lists %d routes, and a scrape answers %d", name, want, status)
		}
	}
}

// Right after a start there is no list at all, rather than one without the agents
// that are on their way.
func TestDiscoveryWarmsUp(t *testing.T) {
	t.Parallel()
	w := listed(t, nil, func(c *proxy.Config) { c.Warmup = time.Hour })
	scraper := w.Scraper("prometheus")
	answer := scraper.Get(discovery)
	after, err := strconv.Atoi(answer.Header.Get("Retry-After"))
	if answer.Status != 503 || answer.Outcome != "warming_up" || bytes.Count(answer.Body, []byte("\n")) != 1 || err != nil || after < 3500 || after > 3600 {
		t.Errorf("got %d %s %q, again after %d s, %v", answer.Status, answer.Outcome, answer.Body, after, err)
	}
	testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_discoveries_total", "outcome", "warming_up")

	const warmup = 300 * time.Millisecond
	began := time.Now()
	w = listed(t, nil, func(c *proxy.Config) { c.Warmup = warmup })
	scraper = w.Scraper("prometheus")
	testenv.Eventually(t, func() error { _, err := list(scraper); return err })
	if took := time.Since(began); took < warmup {
		t.Errorf("it answers after %s", took)
	}
}

// onlyLabelled registers anything, and lets be scraped what has a label.
func onlyLabelled(zone string) fstest.MapFS {
	return fstest.MapFS{
		"register.rego": {Data: []byte("package sallyport.register\n\nallow := true\n\nlabels := {\"env\": \"test\"}\n")},
		"scrape.rego":   {Data: []byte(fmt.Sprintf("package sallyport.scrape\n\nallow if input.route.labels.zone == %q\n", zone))},
	}
}

// A route whose agent is gone is listed as it was, but for being down, and is judged
// as it was: a policy may go by labels. Then it is forgotten.
func TestDiscoveryKeepsRoutesOfLostAgents(t *testing.T) {
	t.Parallel()
	w := listed(t, onlyLabelled("eu"), nil)
	target := agent.Target{Path: "/x/app", URL: testenv.Metrics(t).URL, Labels: map[string]string{"zone": "eu"}}
	a := w.StartAgent("x", testenv.AgentConfig{}, target, testenv.Route("/x/hidden", target.URL))
	a.WaitReady()
	scraper := w.Scraper("prometheus")
	var before map[string]group
	testenv.Eventually(t, func() (err error) { before, err = list(scraper); return err })
	if len(before) != 1 || before["/x/app"].Labels["__meta_sallyport_up"] != "1" {
		t.Fatalf("listed %v", before)
	}
	a.Kill()
	testenv.WaitMetric(w, w.Proxy, 2, "sallyport_proxy_routes", "state", "gone")
	gone := mustList(t, scraper)
	want := maps.Clone(before["/x/app"].Labels)
	want["__meta_sallyport_up"] = "0"
	if len(gone) != 1 || !maps.Equal(gone["/x/app"].Labels, want) {
		t.Errorf("listed %v, want %v", gone, want)
	}
	for path, want := range map[string]string{"/x/app": "agent_gone", "/x/hidden": "not_found"} {
		if answer := scraper.Get(path); answer.Outcome != want {
			t.Errorf("%s: %d %s", path, answer.Status, answer.Outcome)
		}
	}
	// What another policy says holds for it too.
	w.Proxy.SetPolicy(onlyLabelled("us"))
	if gone := mustList(t, scraper); len(gone) != 0 {
		t.Errorf("another policy lists %v", gone)
	}
	w.Proxy.SetPolicy(onlyLabelled("eu"))
	w.Agent("x", target)
	if back := mustList(t, scraper); !maps.Equal(back["/x/app"].Labels, before["/x/app"].Labels) {
		t.Errorf("listed %v after it came back, and %v before", back, before)
	}
}

func TestDiscoveryForgets(t *testing.T) {
	t.Parallel()
	w := listed(t, nil, func(c *proxy.Config) { c.Retention = 300 * time.Millisecond })
	a := w.Agent("x", testenv.Route("/x/app", testenv.Metrics(t).URL))
	scraper := w.Scraper("prometheus")
	testenv.Eventually(t, func() error {
		routes, err := list(scraper)
		if err == nil && len(routes) != 1 {
			err = fmt.Errorf("listed %v", routes)
		}
		return err
	})
	a.Kill()
	// Sooner than a sweep comes round.
	testenv.EventuallyWithin(t, 10*time.Second, func() error {
		routes, err := list(scraper)
		if err == nil && len(routes) != 0 {
			err = fmt.Errorf("listed %v", routes)
		}
		return err
	})
}

// Replicas of an agent share a route, and it is one target; where they differ, it has
// the labels by which a scrape of it is judged.
func TestDiscoveryListsSharedRouteOnce(t *testing.T) {
	t.Parallel()
	w := listed(t, onlyLabelled("eu"), nil)
	target := agent.Target{Path: "/x/app", URL: testenv.Metrics(t).URL, Labels: map[string]string{"zone": "eu", "replica": "1"}}
	w.Agent("x", target)
	target.Labels = map[string]string{"zone": "eu", "replica": "2"}
	second := w.Agent("x", target)
	scraper := w.Scraper("prometheus")
	if routes := mustList(t, scraper); routes["/x/app"].Labels["replica"] != "2" {
		t.Errorf("listed %v", routes)
	}
	second.Kill()
	testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_sessions")
	if routes := mustList(t, scraper); routes["/x/app"].Labels["replica"] != "1" {
		t.Errorf("listed %v", routes)
	}
}

// Whatever an agent says of its targets is the value of a label, and no more.
func TestDiscoveryQuotesWhatAgentsSay(t *testing.T) {
	t.Parallel()
	w := listed(t, nil, nil)
	const hostile = "\"}},{\"targets\":[\"evil:1\"],\"labels\":{\"__address__\":\"evil:2\"}}]\n\\</script>\u2028\x00\u202e${__meta}"
	target := agent.Target{Path: "/x/app", URL: testenv.Metrics(t).URL, Labels: map[string]string{"zone": hostile, "targets": "x", "_": ""}}
	w.Agent("x", target)
	routes := mustList(t, w.Scraper("prometheus"))
	want := map[string]string{
		"__scheme__": "https", "__metrics_path__": "/x/app", "instance": "x/app",
		"__meta_sallyport_agent_id": testenv.ID("x"), "__meta_sallyport_agent_name": "x", "__meta_sallyport_up": "1",
		"zone": hostile, "targets": "x", "_": "",
	}
	if have := routes["/x/app"]; len(routes) != 1 || !maps.Equal(have.Labels, want) || len(have.Targets) != 1 || have.Targets[0] != "proxy.example.org:443" {
		t.Errorf("listed %q, want %q", routes, want)
	}
}

// What is no request for targets is refused, or is none of discovery's business.
func TestDiscoveryRefuses(t *testing.T) {
	t.Parallel()
	w := listed(t, nil, func(c *proxy.Config) { c.ClientAuth = proxy.ClientAuthNone })
	config := &tls.Config{RootCAs: w.CA.Pool(), ServerName: "localhost"}
	for request, want := range map[string]string{
		"GET /-/discovery HTTP/1.1\r\nHost: x\r\n\r\n":                          "200 ",
		"HEAD /-/discovery HTTP/1.1\r\nHost: x\r\n\r\n":                         "405 method",
		"POST /-/discovery HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n":    "405 method",
		"GET /-/discovery HTTP/1.0\r\nHost: x\r\n\r\n":                          "400 bad_request",
		"GET /-/discovery HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]":   "400 bad_request",
		"GET /-/discovery? HTTP/1.1\r\nHost: x\r\n\r\n":                         "400 bad_request",
		"GET /-/discovery?match=a HTTP/1.1\r\nHost: x\r\n\r\n":                  "400 bad_request",
		"GET /-/discovery/ HTTP/1.1\r\nHost: x\r\n\r\n":                         "404 not_found",
		"GET /-/discovery/x HTTP/1.1\r\nHost: x\r\n\r\n":                        "404 not_found",
		"GET //-/discovery HTTP/1.1\r\nHost: x\r\n\r\n":                         "404 not_found",
		"GET /-/%64iscovery HTTP/1.1\r\nHost: x\r\n\r\n":                        "404 not_found",
		"GET /-/Discovery HTTP/1.1\r\nHost: x\r\n\r\n":                          "404 not_found",
		"GET https://x/-/discovery HTTP/1.1\r\nHost: x\r\n\r\n":                 "404 not_found",
		"GET /-/discovery HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n": "200 ",
	} {
		conn, err := tls.Dial("tcp", w.Proxy.ScrapeAddr, config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(request, "\r\n")
		method, _, _ := strings.Cut(line, " ")
		response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if have := fmt.Sprintf("%d %s", response.StatusCode, response.Header.Get("Sallyport-Outcome")); have != want {
			t.Errorf("%q is answered %s, want %s", request, have, want)
		}
		response.Body.Close()
		conn.Close()
	}
}

func TestDiscoveryNeedsCredential(t *testing.T) {
	t.Parallel()
	w := listed(t, nil, func(c *proxy.Config) { c.ClientAuth = proxy.ClientAuthOptional })
	answer := w.ScraperWith(nil).Get(discovery)
	if answer.Status != 401 || answer.Outcome != "unauthenticated" {
		t.Errorf("got %d %s %q", answer.Status, answer.Outcome, answer.Body)
	}
	testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_discoveries_total", "outcome", "unauthenticated")
	testenv.WaitMetric(w, w.Proxy, 0, "sallyport_proxy_scrapes_total", "outcome", "unauthenticated")
}

func TestDiscoveryDrains(t *testing.T) {
	t.Parallel()
	w := listed(t, nil, nil)
	gate := testenv.NewGate(t, false)
	w.Agent("x", testenv.Route("/x/app", gate.URL))
	scraper, done := w.Scraper("prometheus"), make(chan testenv.Answer, 1)
	mustList(t, scraper)
	go func() { done <- scraper.Get("/x/app") }()
	<-gate.Arrived()
	w.Proxy.Drain()
	testenv.Eventually(t, func() error {
		if w.Proxy.Ready() == nil {
			return errors.New("not draining yet")
		}
		return nil
	})
	if answer := scraper.Get(discovery); answer.Status != 503 || answer.Outcome != "draining" {
		t.Errorf("got %d %s %v", answer.Status, answer.Outcome, answer.Err)
	}
	gate.Open()
	if answer := <-done; answer.Status != 200 {
		t.Errorf("the scrape: %d %s", answer.Status, answer.Outcome)
	}
}

// crowd is a fleet whose list fits into no buffer of the network's.
func crowd(tb testing.TB, policy fs.FS, routes int) *testenv.World {
	tb.Helper()
	w := listed(tb, policy, nil)
	target, zone := testenv.Metrics(tb).URL, strings.Repeat("z", 8000)
	var targets []agent.Target
	for i := range routes {
		targets = append(targets, agent.Target{Path: fmt.Sprintf("/x/%d", i), URL: target, Labels: map[string]string{"zone": zone}})
	}
	w.Agent("x", targets...)
	return w
}

// stall asks for a list and reads no more than its head.
func stall(t *testing.T, scraper *testenv.Scraper) *http.Response {
	t.Helper()
	response, err := scraper.Client.Get(scraper.URL(discovery))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// A list is of one policy, for one credential. Where either ends in the middle the
// answer breaks off, and what has been read of it does not look whole.
func TestDiscoveryBreaksOff(t *testing.T) {
	t.Parallel()
	w := crowd(t, onlyLabelled(strings.Repeat("z", 8000)), 1600)
	short := w.Leaf(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus"), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(3 * time.Second)})
	for _, end := range []struct {
		outcome string
		scraper *testenv.Scraper
		come    func()
	}{
		{"cancelled", w.ScraperWith(short), func() {}},
		{"truncated", w.Scraper("prometheus"), func() { w.Proxy.SetPolicy(onlyLabelled("none")) }},
	} {
		response := stall(t, end.scraper)
		if response.StatusCode != 200 || response.ContentLength >= 0 {
			t.Fatalf("%s, %d bytes", response.Status, response.ContentLength)
		}
		end.come()
		if end.outcome == "cancelled" {
			testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_discoveries_total", "outcome", end.outcome)
		}
		body, err := io.ReadAll(response.Body)
		if err == nil || json.Valid(body) {
			t.Errorf("%s: %d bytes, %v", end.outcome, len(body), err)
		}
		testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_discoveries_total", "outcome", end.outcome)
	}
	if routes := mustList(t, w.Scraper("prometheus")); len(routes) != 0 {
		t.Errorf("%d routes are listed", len(routes))
	}
}

// Readers that stall keep nobody else from being answered, and are bounded in number.
func TestDiscoveryIsBounded(t *testing.T) {
	t.Parallel()
	w := crowd(t, nil, 1600)
	greedy, other := w.Scraper("prometheus/greedy"), w.Scraper("prometheus/other")
	for range 8 {
		stall(t, greedy)
	}
	answer := greedy.Get(discovery)
	if answer.Status != 503 || answer.Outcome != "busy" || cmp.Or(answer.Header.Get("Retry-After"), "0") == "0" {
		t.Errorf("the ninth at once: %d %s %v", answer.Status, answer.Outcome, answer.Err)
	}
	if routes := mustList(t, other); len(routes) != 1600 {
		t.Errorf("%d routes are listed", len(routes))
	}
	greedy.Client.CloseIdleConnections()
}

// A route of which the policy cannot be asked is left out, and that is told, but not to
// whoever asks again and again.
func TestDiscoveryLeavesOutFaults(t *testing.T) {
	t.Parallel()
	policy := onlyLabelled("eu")
	policy["scrape.rego"] = &fstest.MapFile{Data: []byte("package sallyport.scrape\n\nallow if to_number(input.route.labels.zone) > 0\n")}
	w := listed(t, policy, nil)
	target := testenv.Metrics(t).URL
	w.Agent("x", agent.Target{Path: "/x/good", URL: target, Labels: map[string]string{"zone": "1"}},
		agent.Target{Path: "/x/odd", URL: target, Labels: map[string]string{"zone": "one"}})
	scraper := w.Scraper("prometheus")
	const listings = 20
	for range listings {
		if routes := mustList(t, scraper); len(routes) != 1 || routes["/x/good"].Targets == nil {
			t.Fatalf("listed %v", routes)
		}
	}
	testenv.WaitMetric(w, w.Proxy, listings, "sallyport_proxy_decisions_total", "action", "discovery", "result", "fault")
	if told := strings.Count(w.Logs.String(), "policy faults, routes not listed"); told < 1 || told > listings/4 {
		t.Errorf("told %d times", told)
	}
}

func TestDiscoveryOfDNSScraper(t *testing.T) {
	t.Parallel()
	w := listed(t, nil, nil)
	w.Agent("x", testenv.Route("/x/app", testenv.Metrics(t).URL))
	for name, want := range map[string]int{"prometheus.example.org": 1, "grafana.example.org": 0} {
		scraper := w.ScraperWith(w.Leaf(pki.Request{Role: pki.Scraper, DNSNames: []string{name}}))
		if routes := mustList(t, scraper); len(routes) != want {
			t.Errorf("%s is listed %v", name, routes)
		}
	}
}

// A list of 6 MB is never held, nor half of it.
func TestDiscoveryMemoryIsFlat(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc, which only Linux has")
	}
	t.Parallel()
	const routes, size = 5000, 6 << 20
	s := newSite(t)
	// Garbage is no part of what is measured.
	p := s.startProxy(append(s.files("proxy", proxyLeaf), "GOGC=5", "SALLYPORT_AUDIT_LOG=off", "SALLYPORT_DISCOVERY_WARMUP=0s")...)
	targets, line := filepath.Join(t.TempDir(), "targets.yaml"), fmt.Sprintf(" url: %q, labels: {zone: %s}}\n", testenv.Metrics(t).URL, strings.Repeat("z", size/routes))
	var text strings.Builder
	text.WriteString("targets:\n")
	for i := range routes {
		fmt.Fprintf(&text, "- {path: /team-a/node/%d,%s", i, line)
	}
	writeExample(t, targets, text.String())
	s.startAgent(append(s.files("agent", agentLeaf), "SALLYPORT_TARGETS_FILE="+targets)...)
	admin := p.Await(`"admin":"([^"]+)"`)
	testenv.Eventually(t, func() error {
		if n, err := sample(admin, `sallyport_proxy_routes{state="served"}`); err != nil || n < routes {
			return fmt.Errorf("%d routes, %w", n, err)
		}
		return nil
	})
	client, before := s.client(), peak(t, p)
	for range 3 {
		response, err := client.Get("https://" + s.scrape + discovery)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || n < size {
			t.Fatalf("%s, %d bytes, %v", response.Status, n, err)
		}
	}
	grown := peak(t, p) - before
	t.Logf("%d KiB before, %d KiB more for a list of %d KiB", before>>10, grown>>10, size>>10)
	if grown > size/3 {
		t.Errorf("the proxy held %d KiB more for a list", grown>>10)
	}
}
