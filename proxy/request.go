package proxy

import (
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

const timeoutHeader = "X-Prometheus-Scrape-Timeout-Seconds"

// Bounds of what of a scraper's request crosses the tunnel.
const (
	maxParams = 64
	maxHeader = 1024
)

// request is a scraper's request, parsed once: the path that the policy judges
// is the path that is routed, the parameters it judges are the ones that cross.
type request struct {
	path    string
	query   url.Values
	timeout time.Duration
	// clamped: it is our own limit, less than the scraper gives.
	clamped bool
}

// parseRequest reads what of r matters. The path is taken as sent, before any
// unescaping; one that is not in the form of a route cannot match any.
func parseRequest(r *http.Request, limit time.Duration) (request, *failure) {
	if r.Method != http.MethodGet {
		return request{}, &failure{outcome: Method, text: "only GET is served"}
	}
	if !r.ProtoAtLeast(1, 1) {
		// Its bodies end where the connection does: a cut one would look whole.
		return request{}, &failure{outcome: BadRequest, text: "HTTP/1.1 is needed"}
	}
	if r.ContentLength != 0 {
		return request{}, &failure{outcome: BadRequest, text: "a scrape has no body"}
	}
	path, rawQuery, _ := strings.Cut(r.RequestURI, "?")
	if err := tunnelv1.CheckPath(path); err != nil {
		return request{}, &failure{outcome: NotFound, text: errNotFound().text, cause: err}
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return request{}, &failure{outcome: BadRequest, text: "the query is malformed"}
	}
	count := 0
	for name, values := range query {
		count += len(values)
		// What is not UTF-8 cannot cross the tunnel, nor be a policy's input.
		if !utf8.ValidString(name + strings.Join(values, "")) {
			return request{}, &failure{outcome: BadRequest, text: "the query is not UTF-8"}
		}
	}
	if count > maxParams {
		return request{}, &failure{outcome: BadRequest, text: "the query has more than 64 parameters"}
	}
	timeout, clamped, ok := parseTimeout(r.Header.Get(timeoutHeader), limit)
	if !ok {
		return request{}, &failure{outcome: BadRequest, text: timeoutHeader + " is not a number of seconds above 0"}
	}
	return request{path: path, query: query, timeout: timeout, clamped: clamped}, nil
}

func errNotFound() *failure { return &failure{outcome: NotFound, text: "not found"} }

// parseTimeout reads the header's decimal seconds, at most limit; clamped: they are more.
// Without the header the limit holds.
func parseTimeout(header string, limit time.Duration) (timeout time.Duration, clamped, ok bool) {
	if header == "" {
		return limit, true, true
	}
	seconds, err := strconv.ParseFloat(header, 64)
	if err != nil || math.IsNaN(seconds) || seconds <= 0 {
		return 0, false, false
	}
	if seconds >= limit.Seconds() {
		return limit, seconds > limit.Seconds(), true
	}
	return time.Duration(seconds * float64(time.Second)), false, true
}

// budget says how long the proxy waits for a scrape and how long the agent may
// take, given how long the scraper waits: each a little less than what encloses
// it, so that the innermost timeout, which knows best, is the one reported.
func budget(timeout time.Duration) (proxy, agent time.Duration) {
	return timeout - min(250*time.Millisecond, timeout/20), timeout - min(500*time.Millisecond, timeout/10)
}

// scrapeRequest is the whole of what crosses the tunnel.
func (q request) scrapeRequest(h http.Header, left time.Duration, maxBody int64) *tunnelv1.ScrapeRequest {
	scrape := &tunnelv1.ScrapeRequest{
		Path:           q.path,
		Accept:         headerValue(h, "Accept"),
		AcceptEncoding: headerValue(h, "Accept-Encoding"),
		UserAgent:      headerValue(h, "User-Agent"),
		TimeoutMs:      uint32(max(left.Milliseconds(), 1)),
		MaxBodyBytes:   uint64(maxBody),
	}
	for name, values := range q.query {
		for _, value := range values {
			scrape.Query = append(scrape.Query, &tunnelv1.Param{Name: name, Value: value})
		}
	}
	return scrape
}

// headerValue joins the header's lines, as RFC 9110, section 5.3 has it. What is
// over-long or no text is left out: a target does without.
func headerValue(h http.Header, name string) string {
	value := strings.Join(h[name], ", ")
	if len(value) > maxHeader || !printable(value) {
		return ""
	}
	return value
}

// printable reports whether s is one line of printable ASCII.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
