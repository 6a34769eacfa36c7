package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

const (
	// maxScrapeTime bounds what a proxy may ask for, in case it asks for days.
	maxScrapeTime = time.Hour
	// The agent gives up this much before the proxy does, or a twentieth of the
	// time if that is less, so that "the target timed out" still arrives.
	maxMargin = 250 * time.Millisecond

	maxHeaderBytes = 2048
	maxQueryBytes  = 8 << 10
)

// Whose limit on a body it was. The proxy, which knows where its own comes from, adds that
// where it is named.
const (
	ownLimit   = "the agent's SALLYPORT_MAX_RESPONSE_BYTES"
	bothLimits = "the agent's SALLYPORT_MAX_RESPONSE_BYTES and the limit that the proxy set"
	proxyLimit = "the limit that the proxy set"
)

// scraper answers scrape requests from the targets in its table.
type scraper struct {
	table    *table
	maxBytes int64
	metrics  *metrics
	tracer   trace.Tracer // nil: off
	log      *slog.Logger
}

// scrape answers req through out. ctx is cancelled when the proxy cancels or the
// lane ends; the deadline is req's. The error says that the lane is broken.
func (s *scraper) scrape(ctx context.Context, req *tunnelv1.ScrapeRequest, out *reply) error {
	begun := time.Now()
	s.metrics.inFlight.Inc()
	defer s.metrics.inFlight.Dec()
	timeout := scrapeTime(req.GetTimeoutMs())
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	e := s.table.load().endpoints[req.GetPath()]
	span := s.trace(ctx, req)
	var end ending
	var status int
	if e == nil {
		end = ending{code: tunnelv1.End_NOT_FOUND, reason: "no target has this path"}
	} else {
		span.of(e)
		status, end = s.pass(ctx, begun, e, req, out)
		e.health.note(s.log, e.target.Path, status, end)
	}
	s.metrics.scraped(end, status, time.Since(begun))
	span.ended(end, status)
	return out.end(end)
}

// scrapeTime is how long a scrape may take of what the proxy is ready to wait.
func scrapeTime(ms uint32) time.Duration {
	whole := min(time.Duration(ms)*time.Millisecond, maxScrapeTime)
	return whole - min(whole/20, maxMargin)
}

// pass does the request and passes the answer to out, all but the last chunk,
// which the end takes along.
func (s *scraper) pass(ctx context.Context, begun time.Time, e *endpoint, req *tunnelv1.ScrapeRequest, out *reply) (status int, end ending) {
	request, end := newRequest(ctx, e, req)
	if request == nil {
		return 0, end
	}
	resp, err := e.transport.RoundTrip(request)
	if err != nil {
		return 0, endingOf(ctx, begun, err)
	}
	defer resp.Body.Close()

	limit, whose := s.bodyLimit(req.GetMaxBodyBytes())
	if resp.ContentLength > limit {
		return resp.StatusCode, tooLarge(limit, whose)
	}
	head, end := newHead(resp, req.GetAcceptEncoding())
	if head == nil {
		return resp.StatusCode, end
	}
	out.head = head
	squeeze := plainCoding(head.ContentEncoding) && takesCoding(req.GetAcceptEncoding(), "gzip")
	err = copyBody(out, &capped{src: resp.Body, left: limit}, squeeze)
	switch {
	case err == nil:
		return resp.StatusCode, complete
	case out.err != nil:
		// The lane broke, which says nothing about the target.
		return resp.StatusCode, ending{code: tunnelv1.End_CANCELLED}
	case errors.Is(err, errTooLarge):
		return resp.StatusCode, tooLarge(limit, whose)
	}
	return resp.StatusCode, endingOf(ctx, begun, err)
}

// bodyLimit is the smaller of our limit and the proxy's, 0 for none, and whose it is.
func (s *scraper) bodyLimit(wish uint64) (limit int64, whose string) {
	switch own := uint64(s.maxBytes); {
	case wish == 0 || wish > own:
		return s.maxBytes, ownLimit
	case wish == own:
		return s.maxBytes, bothLimits
	default:
		return int64(wish), proxyLimit
	}
}

// copyBody sends all of src but the last chunk, compressed if squeeze and if it
// is worth it.
func copyBody(out *reply, src io.Reader, squeeze bool) error {
	n, err := fill(src, out.room())
	if squeeze && n >= minSqueeze {
		out.head.ContentEncoding, out.head.ContentLength = "gzip", 0
		plain := out.chunk
		out.chunk = nil
		defer chunks.Put(plain)
		return squeezeBody(out, src, *plain, n, err)
	}
	for err == nil {
		out.filled = n
		if err := out.flush(nil); err != nil {
			return err
		}
		n, err = fill(src, out.room())
	}
	out.filled = n
	if err != io.EOF {
		return err
	}
	return nil
}

// newRequest makes the GET for the target: its own URL, the scraper's allowed
// parameters, the headers of the wire contract, the target's credential. A nil
// request comes with the reason.
func newRequest(ctx context.Context, e *endpoint, req *tunnelv1.ScrapeRequest) (*http.Request, ending) {
	u := e.url
	if len(req.GetQuery()) > 0 {
		query, err := addQuery(e, req.GetQuery())
		if err != nil {
			return nil, badRequest(err.Error())
		}
		own := *u
		own.RawQuery = query
		u = &own
	}
	authorization, err := e.credential.header()
	if err != nil {
		return nil, ending{
			code:   tunnelv1.End_UNREACHABLE,
			reason: "the agent cannot read the target's credential",
			cause:  err,
		}
	}
	deadline, _ := ctx.Deadline()
	left := max(0, time.Until(deadline)).Seconds()
	header := http.Header{
		"X-Prometheus-Scrape-Timeout-Seconds": {strconv.FormatFloat(left, 'f', 3, 64)},
		// Present but empty keeps net/http from putting in its own.
		"User-Agent": {passableHeader(req.GetUserAgent())},
	}
	if accept := passableHeader(req.GetAccept()); accept != "" {
		header["Accept"] = []string{accept}
	}
	if coding := passableHeader(req.GetAcceptEncoding()); coding != "" {
		header["Accept-Encoding"] = []string{coding}
	}
	if authorization != "" {
		header["Authorization"] = []string{authorization}
	}
	request := &http.Request{
		Method: http.MethodGet, URL: u, Host: u.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	return request.WithContext(ctx), ending{}
}

// addQuery appends params to the query of the target's own URL.
func addQuery(e *endpoint, params []*tunnelv1.Param) (string, error) {
	var query strings.Builder
	query.WriteString(e.url.RawQuery)
	for _, p := range params {
		if !e.takes(p.GetName()) {
			return "", fmt.Errorf("%q is not among the params of its entry in the targets file", sayable(p.GetName(), 64))
		}
		if query.Len() > 0 {
			query.WriteByte('&')
		}
		query.WriteString(url.QueryEscape(p.GetName()))
		query.WriteByte('=')
		query.WriteString(url.QueryEscape(p.GetValue()))
		if query.Len() > maxQueryBytes {
			return "", fmt.Errorf("the query is longer than %d bytes", maxQueryBytes)
		}
	}
	return query.String(), nil
}

// passableHeader is value if it can be a header's as it is, otherwise "".
func passableHeader(value string) string {
	if len(value) > maxHeaderBytes {
		return ""
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return ""
		}
	}
	return value
}

// newHead judges the head of the target's answer. A nil one comes with the reason.
func newHead(resp *http.Response, acceptEncoding string) (*tunnelv1.Head, ending) {
	status := resp.StatusCode
	contentType := resp.Header.Get("Content-Type")
	contentEncoding := strings.Join(resp.Header.Values("Content-Encoding"), ", ")
	switch {
	case status >= 300 && status < 400:
		return nil, rejected(fmt.Sprintf("it redirects (status %d), which is not followed", status))
	case status < 200 || status > 599:
		return nil, rejected(fmt.Sprintf("it answered with status %d", status))
	case passableHeader(contentType) != contentType:
		return nil, rejected("its answer's Content-Type is malformed")
	case status == http.StatusOK && !metricsType(contentType):
		return nil, rejected("it answered with " + sayable(contentType, 64) + ", which is no metrics")
	case contentEncoding != "" && !passableCoding(contentEncoding, acceptEncoding):
		return nil, rejected("its answer is compressed in a way that the scraper does not take")
	}
	return &tunnelv1.Head{
		Status:          uint32(status),
		ContentType:     contentType,
		ContentEncoding: contentEncoding,
		ContentLength:   uint64(max(resp.ContentLength, 0)),
	}, ending{}
}

// health remembers how the last scrape of a target ended, so that the log tells
// a change and not each failure.
type health struct {
	last   atomic.Int32
	status atomic.Int32           // of a whole answer
	at     atomic.Int64           // when, in milliseconds since 1970
	reason atomic.Pointer[string] // of the last failure
}

func (h *health) note(log *slog.Logger, path string, status int, end ending) {
	switch end.code {
	case tunnelv1.End_CANCELLED, tunnelv1.End_BAD_REQUEST:
		return // the scraper's doing, says nothing about the target
	}
	if end.code != tunnelv1.End_COMPLETE {
		reason := end.reason
		h.reason.Store(&reason)
	}
	h.status.Store(int32(status))
	h.at.Store(time.Now().UnixMilli())
	before := tunnelv1.End_Code(h.last.Swap(int32(end.code)))
	if before == end.code {
		return
	}
	if end.code != tunnelv1.End_COMPLETE {
		attrs := []any{"route", path, "code", end.code.String(), "reason", end.reason}
		if end.cause != nil {
			attrs = append(attrs, "error", sayableError(end.cause))
		}
		log.Warn("scraping a target fails", withHint(attrs, endingHints[end.code])...)
	} else if before != tunnelv1.End_CODE_UNSPECIFIED {
		log.Info("scraping a target works again", "route", path)
	}
}

// sayableError is an error's text made fit for a log line: net/http quotes what
// a target sent.
func sayableError(err error) string {
	if err == nil {
		return ""
	}
	return sayable(err.Error(), 500)
}
