package testenv

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Text is the content type of the classic exposition format.
const Text = "text/plain; version=0.0.4; charset=utf-8"

// Target is an HTTP endpoint for an agent to scrape.
type Target struct {
	URL string

	requests  atomic.Int64
	abandoned chan struct{}
	last      atomic.Pointer[http.Request]
}

// NewTarget serves a handler until the test ends.
func NewTarget(tb testing.TB, handler http.HandlerFunc) *Target {
	tb.Helper()
	t := &Target{abandoned: make(chan struct{}, 1<<16)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.requests.Add(1)
		t.last.Store(r.Clone(r.Context()))
		handler(w, r)
		if r.Context().Err() != nil {
			t.abandoned <- struct{}{}
		}
	}))
	t.URL = server.URL + "/metrics"
	tb.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return t
}

// Requests counts what has reached the target.
func (t *Target) Requests() int { return int(t.requests.Load()) }

// Last is the latest request.
func (t *Target) Last() *http.Request { return t.last.Load() }

// Abandoned gets a value for each request whose client hung up before its
// handler returned.
func (t *Target) Abandoned() <-chan struct{} { return t.abandoned }

// Exposition is about size bytes of metrics in the text format, no two lines
// alike.
func Exposition(size int) []byte {
	var b bytes.Buffer
	b.Grow(size + 128)
	b.WriteString("# HELP testenv_series A series.\n# TYPE testenv_series gauge\n")
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "testenv_series{instance_number=\"%d\",shard=\"%d\"} %d\n", i, i%7, i*i%1009)
	}
	return b.Bytes()
}

// Metrics serves a small exposition.
func Metrics(tb testing.TB) *Target { return Body(tb, Exposition(2000)) }

// Body serves these bytes, in the text format, with their length.
func Body(tb testing.TB, body []byte) *Target {
	return NewTarget(tb, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", Text)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
}

// Gzipped serves these bytes compressed, whatever the client takes.
func Gzipped(tb testing.TB, body []byte) *Target {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(body)
	_ = z.Close()
	return NewTarget(tb, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", Text)
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(b.Bytes())
	})
}

// Stream serves size bytes without saying how many, made as they are sent.
func Stream(tb testing.TB, size int) *Target {
	line := []byte(strings.Repeat("x", 1000))
	return NewTarget(tb, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", Text)
		for sent := 0; sent < size; {
			n := min(len(line), size-sent)
			fmt.Fprintf(w, "# ")
			if _, err := w.Write(line[:max(n-3, 0)]); err != nil {
				return
			}
			if _, err := io.WriteString(w, "\n"); err != nil {
				return
			}
			sent += n
		}
	})
}

// Slow answers nothing until its client has gone.
func Slow(tb testing.TB) *Target {
	return NewTarget(tb, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
	})
}

// Gate answers once the test opens it, and says when a request has arrived.
type Gate struct {
	*Target
	arrived chan struct{}
	open    chan struct{}
}

// NewGate makes a closed gate. If head, it sends the head and the first half of
// its body at once.
func NewGate(tb testing.TB, head bool) *Gate {
	g := &Gate{arrived: make(chan struct{}, 1024), open: make(chan struct{}, 1024)}
	body := Exposition(100_000)
	g.Target = NewTarget(tb, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", Text)
		half := 0
		if head {
			half = len(body) / 2
			_, _ = w.Write(body[:half])
			_ = http.NewResponseController(w).Flush()
		}
		g.arrived <- struct{}{}
		select {
		case <-g.open:
			_, _ = w.Write(body[half:])
		case <-r.Context().Done():
		}
	})
	return g
}

// Arrived gets a value for each request that is at the gate.
func (g *Gate) Arrived() <-chan struct{} { return g.arrived }

// Open lets one request through.
func (g *Gate) Open() { g.open <- struct{}{} }

// Raw answers every connection with these bytes and closes it: the place for
// answers that no HTTP server would give.
func Raw(tb testing.TB, answer string) *Target {
	return NewTarget(tb, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, answer)
		_ = conn.Close()
	})
}
