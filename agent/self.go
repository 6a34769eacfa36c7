package agent

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// selfURL stands for the agent itself in place of a target's URL: its own metrics go
// through its own tunnel, and need no port that anybody could reach.
const selfURL = "self"

// maxGathering is how many scrapes of the agent itself may be under way: a collector
// of the program that the agent is part of may hang.
const maxGathering = 8

// selfTransport answers from what a gatherer has, as a server of metrics would: in the
// format that the scraper asks for.
type selfTransport struct{ handler http.Handler }

// newSelfTransport is nil where there is nothing to gather from.
func newSelfTransport(from prometheus.Gatherer, log *slog.Logger) http.RoundTripper {
	if from == nil {
		return nil
	}
	return selfTransport{promhttp.HandlerFor(from, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: maxGathering,
		EnableOpenMetrics:   true,
		DisableCompression:  true, // the agent compresses for all targets alike
	})}
}

// RoundTrip implements http.RoundTripper. It waits no longer than the request's context
// lasts; what hangs is left behind.
func (t selfTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	answered := make(chan *selfAnswer, 1)
	go func() {
		answer := &selfAnswer{header: make(http.Header), status: http.StatusOK}
		t.handler.ServeHTTP(answer, r)
		answered <- answer
	}()
	select {
	case answer := <-answered:
		return answer.response(r), nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// selfAnswer is an http.ResponseWriter that keeps what is written.
type selfAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *selfAnswer) Header() http.Header { return a.header }

func (a *selfAnswer) WriteHeader(status int) { a.status = status }

func (a *selfAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }

func (a *selfAnswer) response(r *http.Request) *http.Response {
	return &http.Response{
		StatusCode: a.status, Header: a.header, Request: r,
		Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()),
	}
}

// isSelf says whether t is the agent itself.
func (t *Target) isSelf() bool { return t.URL == selfURL }

// selfClaim is what the proxy's policy sees of such a target: it leads nowhere but to
// the agent, so that there is no host, port or path.
func selfClaim() *tunnelv1.Target { return &tunnelv1.Target{Scheme: selfURL} }

// selfRequestURL is what a request to ourselves carries; nobody resolves it.
func selfRequestURL() *url.URL { return &url.URL{Scheme: "http", Host: selfURL, Path: "/metrics"} }
