package agent_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// startTarget starts a target that answers as handler says.
func startTarget(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// scrape does one scrape on the lane and holds the answer to the wire contract.
func scrape(t testing.TB, lane *fakeLane, req *tunnelv1.ScrapeRequest) *answer {
	t.Helper()
	if req.TimeoutMs == 0 {
		req.TimeoutMs = 20_000
	}
	if req.MaxBodyBytes == 0 {
		req.MaxBodyBytes = 64 << 20
	}
	if err := lane.request(req); err != nil {
		t.Fatalf("sending the request: %v", err)
	}
	a, err := lane.collect(true)
	if err != nil {
		t.Fatalf("reading the answer after %d messages: %v", a.messages, err)
	}
	return a
}

func TestScrapePassesWhatTheContractNames(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	url := startTarget(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
		io.WriteString(w, "up 1\n# EOF\n")
	})
	r := startRig(t, rigOptions{targets: agent.Targets{{
		Path: "/a", URL: url + "/metrics?own=1", Params: []string{"collect[]", "x"},
	}}})
	a := scrape(t, r.lane(t), &tunnelv1.ScrapeRequest{
		Path:           "/a",
		Query:          []*tunnelv1.Param{{Name: "collect[]", Value: "cpu&own=2"}, {Name: "x", Value: ""}, {Name: "collect[]", Value: "ü"}},
		Accept:         "application/openmetrics-text;version=1.0.0",
		AcceptEncoding: "gzip",
		UserAgent:      "Prometheus/3.0",
		TimeoutMs:      8000,
	})
	if a.messages != 1 {
		t.Errorf("a small answer took %d messages", a.messages)
	}
	if got := a.head; got.GetStatus() != 200 || got.GetContentEncoding() != "" ||
		got.GetContentType() != "application/openmetrics-text; version=1.0.0; charset=utf-8" {
		t.Errorf("head = %v", got)
	}
	if a.end.GetCode() != tunnelv1.End_COMPLETE || string(a.body) != "up 1\n# EOF\n" {
		t.Errorf("end = %v, body = %q", a.end, a.body)
	}

	request := receive(t, seen, "the request")
	if request.Method != "GET" || request.URL.Path != "/metrics" {
		t.Errorf("the target was asked %s %s", request.Method, request.URL.Path)
	}
	if got, want := request.URL.RawQuery, "own=1&collect%5B%5D=cpu%26own%3D2&x=&collect%5B%5D=%C3%BC"; got != want {
		t.Errorf("query = %q, want %q", got, want)
	}
	left, err := strconv.ParseFloat(request.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64)
	if err != nil || left <= 7 || left >= 8 {
		t.Errorf("timeout header = %v, %v", left, err)
	}
	request.Header.Del("X-Prometheus-Scrape-Timeout-Seconds")
	want := http.Header{
		"Accept":          {"application/openmetrics-text;version=1.0.0"},
		"Accept-Encoding": {"gzip"},
		"User-Agent":      {"Prometheus/3.0"},
	}
	if fmt.Sprint(request.Header) != fmt.Sprint(want) {
		t.Errorf("headers = %v, want %v", request.Header, want)
	}
}

func TestScrapeLeavesOutHeadersThatAreNone(t *testing.T) {
	t.Parallel()
	seen := make(chan http.Header, 1)
	url := startTarget(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	lane := r.lane(t)
	for _, value := range []string{"", "a\r\nEvil: 1", "a\x00", "é", strings.Repeat("a", 3000)} {
		scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/a", Accept: value, AcceptEncoding: value, UserAgent: value})
		header := receive(t, seen, "the request")
		if len(header) != 1 {
			t.Errorf("for %.20q the headers are %v", value, header)
		}
	}
}

// answers with raw bytes and then closes.
func raw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		io.WriteString(conn, text)
	}
}

func TestScrapeOfFaultyTargets(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a metric 1\n", 10_000) // more than three chunks
	stall := func(first string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if first != "" {
				io.WriteString(w, first)
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		}
	}
	html := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(status)
			io.WriteString(w, "<html>")
		}
	}
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		request *tunnelv1.ScrapeRequest
		status  uint32 // 0: no head
		code    tunnelv1.End_Code
		reason  string
	}{
		"redirect":              {handler: http.RedirectHandler("http://127.0.0.1:1/secret", http.StatusFound).ServeHTTP, code: tunnelv1.End_REJECTED, reason: `it redirects \(status 302\)`},
		"redirect without aim":  {handler: raw("HTTP/1.1 304 Not Modified\r\n\r\n"), code: tunnelv1.End_REJECTED, reason: `it redirects \(status 304\)`},
		"HTML":                  {handler: html(200), code: tunnelv1.End_REJECTED, reason: `it answered with text/html; charset=utf-8, which is no metrics`},
		"HTML with an error":    {handler: html(500), status: 500, code: tunnelv1.End_COMPLETE},
		"not found":             {handler: http.NotFound, status: 404, code: tunnelv1.End_COMPLETE},
		"no body":               {handler: raw("HTTP/1.1 204 No Content\r\n\r\n"), status: 204, code: tunnelv1.End_COMPLETE},
		"no type":               {handler: raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na\n"), status: 200, code: tunnelv1.End_COMPLETE},
		"HTTP/1.0":              {handler: raw("HTTP/1.0 200 OK\r\n\r\na 1\n"), status: 200, code: tunnelv1.End_COMPLETE},
		"informational":         {handler: raw("HTTP/1.1 101 Switching Protocols\r\n\r\n"), code: tunnelv1.End_REJECTED, reason: `answered with status 101`},
		"status 700":            {handler: raw("HTTP/1.1 700 What\r\nContent-Length: 0\r\n\r\n"), code: tunnelv1.End_REJECTED, reason: `answered with status 700`},
		"type not printable":    {handler: raw("HTTP/1.1 200 OK\r\nContent-Type: text/plain\xff\r\nContent-Length: 0\r\n\r\n"), code: tunnelv1.End_REJECTED, reason: `Content-Type is malformed`},
		"unasked compression":   {handler: raw("HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nContent-Length: 0\r\n\r\n"), code: tunnelv1.End_REJECTED, reason: `compressed in a way`},
		"asked compression":     {handler: raw("HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nContent-Length: 0\r\n\r\n"), request: &tunnelv1.ScrapeRequest{AcceptEncoding: "gzip, zstd"}, status: 200, code: tunnelv1.End_COMPLETE},
		"not HTTP":              {handler: raw("SSH-2.0-OpenSSH_9.6\r\n"), code: tunnelv1.End_REJECTED, reason: `its answer is no HTTP`},
		"bad header":            {handler: raw("HTTP/1.1 200 OK\r\n: x\r\n\r\n"), code: tunnelv1.End_REJECTED, reason: `its answer is no HTTP`},
		"huge headers":          {handler: raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 1<<17) + "\r\n\r\n"), code: tunnelv1.End_REJECTED, reason: `headers are too large`},
		"closes at once":        {handler: raw(""), code: tunnelv1.End_BROKEN, reason: `broke off`},
		"closes in the head":    {handler: raw("HTTP/1.1 200 OK\r\nContent-Le"), code: tunnelv1.End_REJECTED, reason: `its answer is no HTTP`},
		"closes early":          {handler: raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na 1\n"), code: tunnelv1.End_BROKEN, reason: `broke off`},
		"closes late":           {handler: raw("HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + long), status: 200, code: tunnelv1.End_BROKEN, reason: `broke off`},
		"closes in a chunk":     {handler: raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na 1\n"), code: tunnelv1.End_BROKEN, reason: `broke off`},
		"closes between chunks": {handler: raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na 1\n\r\n"), code: tunnelv1.End_BROKEN, reason: `broke off`},
		"lies, sends more":      {handler: raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 1\nHTTP/1.1 200 OK\r\n"), status: 200, code: tunnelv1.End_COMPLETE},
		"two lengths":           {handler: raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\na 1\n"), code: tunnelv1.End_BROKEN, reason: `broke off`},
		"hangs":                 {handler: stall(""), request: &tunnelv1.ScrapeRequest{TimeoutMs: 300}, code: tunnelv1.End_TIMEOUT, reason: `gave up after (0\.[3-9]|1\.[0-9])s`},
		"hangs in the body":     {handler: stall("a 1\n"), request: &tunnelv1.ScrapeRequest{TimeoutMs: 300}, code: tunnelv1.End_TIMEOUT, reason: `gave up after (0\.[3-9]|1\.[0-9])s`},
		"hangs late":            {handler: stall(long), request: &tunnelv1.ScrapeRequest{TimeoutMs: 300}, status: 200, code: tunnelv1.End_TIMEOUT, reason: `gave up after (0\.[3-9]|1\.[0-9])s`},
		"over the limit": {handler: func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush() // no Content-Length
			io.WriteString(w, long)
		}, request: &tunnelv1.ScrapeRequest{MaxBodyBytes: 50_000}, status: 200, code: tunnelv1.End_TOO_LARGE, reason: `more than 50000B, the limit that the proxy set`},
		"over the limit at once": {handler: raw("HTTP/1.1 200 OK\r\n\r\n" + long), request: &tunnelv1.ScrapeRequest{MaxBodyBytes: 50}, code: tunnelv1.End_TOO_LARGE, reason: `more than 50B, the limit that the proxy set`},
		"announces too much":     {handler: raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + long), code: tunnelv1.End_TOO_LARGE, reason: `more than 64MiB, the agent's SALLYPORT_MAX_RESPONSE_BYTES and the limit that the proxy set`},
		"as much as may be":      {handler: raw("HTTP/1.1 200 OK\r\n\r\n" + long), request: &tunnelv1.ScrapeRequest{MaxBodyBytes: uint64(len(long))}, status: 200, code: tunnelv1.End_COMPLETE},
		"one byte too many":      {handler: raw("HTTP/1.1 200 OK\r\n\r\n" + long), request: &tunnelv1.ScrapeRequest{MaxBodyBytes: uint64(len(long) - 1)}, status: 200, code: tunnelv1.End_TOO_LARGE, reason: `more than 109999B, .*`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := startTarget(t, tt.handler)
			r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url + "/secret-path"}}})
			lane := r.lane(t)
			request := tt.request
			if request == nil {
				request = &tunnelv1.ScrapeRequest{}
			}
			request.Path = "/a"
			a := scrape(t, lane, request)
			if a.head.GetStatus() != tt.status {
				t.Errorf("head = %v, want status %d", a.head, tt.status)
			}
			if a.end.GetCode() != tt.code || !regexp.MustCompile("^.*"+tt.reason+".*$").MatchString(a.end.GetReason()) {
				t.Errorf("end = %v, want %v %q", a.end, tt.code, tt.reason)
			}
			if strings.ContainsAny(a.end.GetReason(), "\r\n/") && name != "HTML" || strings.Contains(a.end.GetReason(), "127.0.0.1") {
				t.Errorf("reason %q tells too much", a.end.GetReason())
			}
			// The lane survives whatever the target does.
			if again := scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/b"}); again.end.GetCode() != tunnelv1.End_NOT_FOUND {
				t.Errorf("the lane then says %v", again.end)
			}
		})
	}
}

func TestScrapeOfATargetThatIsDown(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: "http://" + listener.Addr().String()}}})
	lane := r.lane(t)
	for range 3 {
		a := scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/a"})
		if a.end.GetCode() != tunnelv1.End_UNREACHABLE || a.end.GetReason() != "connection refused" {
			t.Errorf("end = %v", a.end)
		}
	}
	if n := strings.Count(r.log.String(), "scraping a target fails"); n != 1 {
		t.Errorf("the failure was told %d times", n)
	}
}

func TestScrapeRefusesParametersThatAreNotAllowed(t *testing.T) {
	t.Parallel()
	url := startTarget(t, func(http.ResponseWriter, *http.Request) { t.Error("the target was asked") })
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url, Params: []string{"ok"}}}})
	lane := r.lane(t)
	for _, query := range [][]*tunnelv1.Param{
		{{Name: "debug", Value: "1"}},
		{{Name: "ok", Value: "1"}, {Name: "OK", Value: "1"}},
		{{Name: "", Value: "1"}},
		{{Name: "a\nb", Value: "1"}},
		{nil},
		{{Name: "ok", Value: strings.Repeat("x", 10_000)}},
	} {
		a := scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/a", Query: query})
		if a.end.GetCode() != tunnelv1.End_BAD_REQUEST || strings.Contains(a.end.GetReason(), "\n") || len(a.end.GetReason()) > 200 {
			t.Errorf("%v: end = %v", query, a.end)
		}
	}
}

func TestScrapeOfPathsThatTheAgentDoesNotHave(t *testing.T) {
	t.Parallel()
	url := startTarget(t, func(http.ResponseWriter, *http.Request) { t.Error("the target was asked") })
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	lane := r.lane(t)
	for _, path := range []string{"", "/", "/A", "/a/", "//a", "/a?x", "a", url, "/%61", strings.Repeat("/a", 20_000)} {
		a := scrape(t, lane, &tunnelv1.ScrapeRequest{Path: path})
		if a.end.GetCode() != tunnelv1.End_NOT_FOUND || a.head != nil {
			t.Errorf("%.20q: end = %v", path, a.end)
		}
	}
	a := scrape(t, lane, &tunnelv1.ScrapeRequest{})
	if a.end.GetCode() != tunnelv1.End_NOT_FOUND {
		t.Errorf("an empty request: %v", a.end)
	}
}

func TestScrapeUsesNoProxyOfTheEnvironment(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	url := startTarget(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a 1\n") })
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	if a := scrape(t, r.lane(t), &tunnelv1.ScrapeRequest{Path: "/a"}); a.end.GetCode() != tunnelv1.End_COMPLETE {
		t.Errorf("end = %v", a.end)
	}
}

func TestScrapeUsesConnectionsAgain(t *testing.T) {
	t.Parallel()
	addrs := make(map[string]bool)
	url := startTarget(t, func(w http.ResponseWriter, r *http.Request) {
		addrs[r.RemoteAddr] = true
		w.Write(bytes.Repeat([]byte("a metric 1\n"), 10_000))
	})
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	lane := r.lane(t)
	for range 5 {
		scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/a", AcceptEncoding: "gzip"})
		scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/a"})
	}
	if len(addrs) != 1 {
		t.Errorf("ten scrapes took %d connections", len(addrs))
	}
}

func TestScrapesAreCounted(t *testing.T) {
	t.Parallel()
	url := startTarget(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			w.WriteHeader(418)
		}
	})
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}, {Path: "/b", URL: url + "/b"}}})
	lane := r.lane(t)
	for _, path := range []string{"/a", "/a", "/b", "/c"} {
		scrape(t, lane, &tunnelv1.ScrapeRequest{Path: path})
	}
	for outcome, want := range map[string]float64{"ok": 2, "target_status": 1, "not_found": 1, "truncated": 0} {
		if got := r.metric(t, "sallyport_agent_scrapes_total", outcome); got != want {
			t.Errorf("%s = %v, want %v", outcome, got, want)
		}
	}
}

func TestScrapeDeadlineIsInsideTheProxys(t *testing.T) {
	t.Parallel()
	url := startTarget(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	lane := r.lane(t)
	begun := time.Now()
	a := scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 2000})
	if took := time.Since(begun); took >= 2*time.Second || a.end.GetCode() != tunnelv1.End_TIMEOUT {
		t.Errorf("after %v: %v", took, a.end)
	}
	request := &tunnelv1.ScrapeRequest{Path: "/a", MaxBodyBytes: 1}
	if err := lane.request(request); err != nil { // no time at all
		t.Fatal(err)
	}
	if a, err := lane.collect(false); err != nil || a.end.GetCode() != tunnelv1.End_TIMEOUT {
		t.Errorf("without time: %v %v", a.end, err)
	}
}
