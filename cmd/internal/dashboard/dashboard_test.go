package dashboard_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/html"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/cmd/internal/dashboard"
	"github.com/seed-951114d4/sallyport/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a proxy of which a test says what there is to tell.
type fake struct {
	mu       sync.Mutex
	routes   []proxy.RouteInfo
	sessions []proxy.SessionInfo
	refusals []proxy.RefusalInfo
	lacks    proxy.ForgottenRefusals
	begins   time.Time
}

func (f *fake) Browse(q proxy.RouteQuery) (page proxy.RoutePage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.routes {
		switch {
		case q.Path != "" && r.Path != q.Path, r.Path <= q.After, !strings.Contains(r.Path, q.Search):
			continue
		case q.Limit > 0 && len(page.Routes) == q.Limit:
			page.Next = page.Routes[q.Limit-1].Path
			return page
		}
		page.Routes = append(page.Routes, r)
	}
	return page
}

func (f *fake) CountRoutes(q proxy.RouteQuery) proxy.RouteCounts {
	return proxy.RouteCounts{Served: len(f.Browse(q).Routes)}
}

func (f *fake) BrowseSessions(q proxy.SessionQuery) ([]proxy.SessionInfo, string) {
	after, _ := strconv.Atoi(q.After)
	left := f.sessions[after:]
	if q.Limit > 0 && len(left) > q.Limit {
		return left[:q.Limit], strconv.Itoa(after + q.Limit)
	}
	return left, ""
}
func (f *fake) Scrapes(proxy.RouteQuery) ([]proxy.ScrapeInfo, string) { return nil, "" }
func (f *fake) Refusals() []proxy.RefusalInfo                         { return slices.Clone(f.refusals) }
func (f *fake) ForgottenRefusals() proxy.ForgottenRefusals            { return f.lacks }
func (f *fake) DiscoveryBegins() (time.Time, bool)                    { return f.begins, f.begins.IsZero() }
func (f *fake) Decisions() []proxy.DecisionCount {
	return []proxy.DecisionCount{{Action: "register", Allow: 1}}
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func newServer(t *testing.T, f *fake, status authz.Status, ready error) *admin.Server {
	t.Helper()
	return newServerOf(t, dashboard.Parts{
		Proxy: f, Policy: func() authz.Status { return status }, Ready: func() error { return ready },
		Sources: map[string]func() authn.Health{"tunnel": func() authn.Health { return authn.Health{Cause: hostile} }},
		Strangers: func() []dashboard.Stranger {
			return []dashboard.Stranger{{Listener: "tunnel", RemoteIP: "192.0.2.1", Reason: "expired", Error: hostile, Count: 3}}
		},
	})
}

func newServerOf(t *testing.T, parts dashboard.Parts) *admin.Server {
	t.Helper()
	parts.ID = func() string { return "spiffe://example.org/proxy" }
	parts.Version, parts.Log = "test", slog.New(slog.DiscardHandler)
	server := admin.New(parts.Ready, admin.NewRegistry("test"), parts.Log)
	if err := dashboard.Mount(server, parts); err != nil {
		t.Fatal(err)
	}
	return server
}

func get(t *testing.T, server http.Handler, path string) (int, string, http.Header) {
	t.Helper()
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
	return recorder.Code, recorder.Body.String(), recorder.Header()
}

// hostile is what a peer says that wants to be more than text: in an element, in an
// attribute, in a URL, to a terminal, and to a reader.
const hostile = "'\"><script>alert(1)</script><img src=x onerror=alert(1)> javascript:alert(1) {{.}} \x1b[2J\u202egnp.exe\n`$(id)`"

func hostileFake() *fake {
	now := time.Now()
	agent := &proxy.AgentInfo{ID: hostile, Name: hostile, Serial: "01", RemoteIP: hostile, NotAfter: now.Add(time.Hour)}
	return &fake{
		routes: []proxy.RouteInfo{{
			Path: "/a/" + hostile, Owner: hostile, State: "served", Session: "S", Agent: agent, Since: &now, Decision: "D",
			Claimed: map[string]string{hostile: hostile}, Labels: map[string]string{hostile: hostile},
			Target: &proxy.TargetInfo{Scheme: "javascript", Host: hostile, Port: 1, Path: "/" + hostile},
			Last:   proxy.TargetUnreachable, Failure: &proxy.FailureInfo{At: now, Outcome: proxy.TargetUnreachable, Text: hostile, Scraper: hostile},
			Recent: []proxy.ScrapeInfo{{At: now, Outcome: proxy.TargetUnreachable, Duration: .1}, {At: now, Outcome: proxy.OK, Duration: .2, Bytes: 5}},
		}, {Path: "/gone" + hostile, Owner: hostile, State: "gone", GoneSince: &now, Name: hostile}},
		sessions: []proxy.SessionInfo{{ID: "S", Agent: *agent, Since: now, NotBefore: now.Add(-time.Hour)}},
		refusals: []proxy.RefusalInfo{
			{Action: "register", Effect: "denied", Identity: hostile, Route: "/a/" + hostile, Reasons: []string{hostile}, Fault: hostile, Standing: true, First: now, Last: now, Input: json.RawMessage(`{"a":"b"}`)},
			{Action: "scrape", Effect: "refused", Identity: hostile, Route: "/a/" + hostile, Why: hostile, Standing: true, First: now, Last: now},
		},
	}
}

// What peers say is text on every page, wherever it stands, and never an element, an
// attribute or a link of its own making.
func TestNothingIsInsertedUnescaped(t *testing.T) {
	t.Parallel()
	status := authz.Status{Name: hostile, Revision: hostile, Failure: &authz.Failure{Error: hostile}}
	server := newServer(t, hostileFake(), status, errors.New(hostile))
	path := "/route?" + url.Values{"path": {"/a/" + hostile}}.Encode()
	query := "?" + url.Values{"q": {hostile}, "state": {hostile}, "outcome": {hostile}, "after": {hostile}}.Encode()
	for _, target := range []string{"/", "/" + query, path, "/route?path=" + url.QueryEscape(hostile), "/agents", "/agents" + query, "/refusals", "/refusals?show=all", "/policy", "/absent"} {
		_, body, header := get(t, server, target)
		if !strings.Contains(header.Get("Content-Security-Policy"), "script-src 'self'") {
			t.Errorf("%s: no policy of the page", target)
		}
		document, err := html.Parse(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for node := range document.Descendants() {
			checkNode(t, target, node)
		}
		if strings.ContainsAny(body, "\x1b\u202e") {
			t.Errorf("%s: it holds what no reader sees", target)
		}
	}
}

func checkNode(t *testing.T, target string, node *html.Node) {
	t.Helper()
	if node.Type != html.ElementNode {
		return
	}
	if node.Data == "img" || node.Data == "iframe" || node.Data == "style" || node.Data == "script" && node.FirstChild != nil {
		t.Errorf("%s: an element %s", target, node.Data)
	}
	for _, a := range node.Attr {
		switch {
		case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "srcdoc":
			t.Errorf("%s: an attribute %s of %s", target, a.Key, node.Data)
		case (a.Key == "href" || a.Key == "src" || a.Key == "action") && (!strings.HasPrefix(a.Val, "/") || strings.HasPrefix(a.Val, "//")) && !strings.HasPrefix(a.Val, "#"):
			t.Errorf("%s: a link to %q", target, a.Val)
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	f := &fake{}
	for i := range 250 {
		f.routes = append(f.routes, proxy.RouteInfo{Path: fmt.Sprintf("/r/%03d", i), State: "served", Owner: "o"})
	}
	server := newServer(t, f, authz.Status{Name: "builtin:default"}, nil)
	rows := func(target string) (n int, next string) {
		t.Helper()
		status, body, _ := get(t, server, target)
		if status != http.StatusOK {
			t.Fatalf("%s: %d", target, status)
		}
		document, err := html.Parse(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for node := range document.Descendants() {
			for _, a := range node.Attr {
				switch {
				case node.Data == "tr" && a.Key == "id":
					n++
				case node.Data == "a" && a.Key == "rel" && a.Val == "next":
					i := slices.IndexFunc(node.Attr, func(a html.Attribute) bool { return a.Key == "href" })
					next = node.Attr[i].Val
				}
			}
		}
		return n, next
	}
	var seen []int
	for target := "/"; target != ""; {
		n, next := rows(target)
		seen, target = append(seen, n), next
	}
	if fmt.Sprint(seen) != "[100 100 50]" {
		t.Errorf("rows on pages: %v", seen)
	}
	if n, next := rows("/?q=r%2F01"); n != 10 || next != "" {
		t.Errorf("found %d and more at %q", n, next)
	}
	for target, want := range map[string]int{"/route?path=/r/001": 200, "/route?path=/none": 404, "/route": 404, "/nonsense": 404, "/assets/live.js": 200, "/assets/": 404} {
		if status, _, _ := get(t, server, target); status != want {
			t.Errorf("%s: %d", target, status)
		}
	}
}

// watch opens a stream and returns its messages.
func watch(t *testing.T, ctx context.Context, target string) (<-chan string, int) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	transport := &http.Transport{}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		transport.CloseIdleConnections()
		return nil, response.StatusCode
	}
	messages := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(messages)
		defer response.Body.Close()
		scanner := bufio.NewScanner(response.Body)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			if data, ok := strings.CutPrefix(scanner.Text(), "data: "); ok {
				messages <- data
			}
		}
	}()
	t.Cleanup(func() { <-done })
	return messages, response.StatusCode
}

// Who watches is sent everything once, then what changes and nothing else; there are only
// so many; and nobody watching, nothing goes on.
func TestWatching(t *testing.T) {
	t.Parallel()
	f := &fake{routes: []proxy.RouteInfo{{Path: "/a", State: "served", Owner: "o"}, {Path: "/b", State: "served", Owner: "o"}}}
	server := httptest.NewServer(newServer(t, f, authz.Status{}, nil))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	messages, _ := watch(t, ctx, server.URL+"/")
	type message struct {
		Parts map[string]string
		Lists map[string][]string
		Items map[string]string
	}
	next := func() (m message) {
		t.Helper()
		select {
		case text := <-messages:
			if err := json.Unmarshal([]byte(text), &m); err != nil {
				t.Fatal(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("no message")
		}
		return m
	}
	if first := next(); len(first.Lists["rows"]) != 2 || len(first.Items) != 2 || first.Parts["tabs"] == "" {
		t.Errorf("at first: %+v", first)
	}
	f.set(func() { f.routes[1].State = "gone" })
	second := next()
	if len(second.Items) != 1 || len(second.Lists) != 0 {
		t.Errorf("of one row: %+v", second)
	}
	for _, row := range second.Items {
		if !strings.Contains(row, "gone") {
			t.Errorf("the row: %s", row)
		}
	}
	f.set(func() { f.routes = f.routes[:1] })
	if third := next(); len(third.Lists["rows"]) != 1 || len(third.Items) != 0 {
		t.Errorf("one less: %+v", third)
	}

	for range 15 {
		if _, status := watch(t, ctx, server.URL+"/refusals"); status != http.StatusOK {
			t.Fatalf("one of sixteen: %d", status)
		}
	}
	if _, status := watch(t, ctx, server.URL+"/"); status != http.StatusServiceUnavailable {
		t.Errorf("the seventeenth: %d", status)
	}
	// When the last has gone nothing goes on that could look at anything.
	cancel()
	for range messages { // until it has ended
	}
	server.Close()
}

// A stream ends when its request would no longer be let in.
func TestWatchingEndsWithLeave(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	status := http.StatusOK
	guard := func(*http.Request) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		return status, "no"
	}
	server := httptest.NewServer(newServer(t, &fake{}, authz.Status{}, nil).Guarded(guard))
	defer server.Close()
	messages, _ := watch(t, t.Context(), server.URL+"/")
	<-messages
	mu.Lock()
	status = http.StatusForbidden
	mu.Unlock()
	select {
	case _, ok := <-messages:
		if ok {
			t.Error("it was sent more")
		}
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
	}
}
