package proxy

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
)

// traceparent is the header, and the key, of W3C Trace Context. What comes with it,
// tracestate and baggage, is a stranger's text and goes nowhere.
const traceparent = "traceparent"

// span is a part of a scrape that is traced. A nil one is of a scrape that is not, and
// costs nothing: all methods may be called on it.
type span struct {
	trace.Span
	tracer trace.Tracer
	ctx    context.Context
}

// trace begins the span of a scrape whose scraper is known; nil where nobody samples it.
// Who has no credential has no say in that, nor in what the span belongs to.
func (s scrapes) trace(ctx context.Context, r *http.Request, q request, scraper authn.Identity) *span {
	if s.tracer == nil {
		return nil
	}
	if scraper.Kind() != authn.Anonymous {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceparent: traceparentOf(r)})
	}
	began := begin(ctx, s.tracer, "scrape", trace.SpanKindServer)
	if began != nil {
		began.SetAttributes(
			attribute.String("http.request.method", r.Method),
			attribute.String("url.scheme", "https"),
			attribute.String("url.path", q.path),
			attribute.String("client.address", remoteIP(r)),
			attribute.String("sallyport.scraper.id", scraper.String()),
		)
	}
	return began
}

// traceparentOf is the header's value where it is one.
func traceparentOf(r *http.Request) string {
	if lines := r.Header[http.CanonicalHeaderKey(traceparent)]; len(lines) == 1 && len(lines[0]) <= maxHeader {
		return lines[0]
	}
	return ""
}

func begin(ctx context.Context, tracer trace.Tracer, name string, kind trace.SpanKind) *span {
	ctx, began := tracer.Start(ctx, name, trace.WithSpanKind(kind))
	if !began.SpanContext().IsSampled() {
		began.End()
		return nil
	}
	return &span{Span: began, tracer: tracer, ctx: ctx}
}

// child begins a span within s.
func (s *span) child(name string) *span {
	if s == nil {
		return nil
	}
	return begin(s.ctx, s.tracer, name, trace.SpanKindInternal)
}

// traceparent is what makes another's span a child of s; "" where there is none.
func (s *span) traceparent() string {
	if s == nil {
		return ""
	}
	carrier := make(propagation.MapCarrier)
	propagation.TraceContext{}.Inject(s.ctx, carrier)
	return carrier[traceparent]
}

// traceID names the trace that s is in; "" where there is none.
func (s *span) traceID() string {
	if s == nil {
		return ""
	}
	return s.SpanContext().TraceID().String()
}

// found notes the route that the scrape goes to.
func (s *span) found(f found) {
	if s != nil {
		s.SetAttributes(attribute.String("sallyport.route.owner", f.owner.String()))
	}
}

// decided ends the span of a decision. Its ID is that of the audit log.
func (s *span) decided(d authz.Decision) {
	if s == nil {
		return
	}
	s.SetAttributes(
		attribute.Bool("sallyport.decision.allow", d.Allow),
		attribute.String("sallyport.decision.id", d.ID),
		attribute.String("sallyport.policy.revision", d.Revision),
	)
	if faulty(d) {
		s.SetStatus(codes.Error, "the policy is faulty")
	}
	s.End()
}

// waited ends the span of a wait.
func (s *span) waited(err error) {
	if s == nil {
		return
	}
	if err != nil {
		s.SetStatus(codes.Error, err.Error())
	}
	s.End()
}

// answered notes what the target sent.
func (s *span) answered(status int, body int64) {
	if s != nil && status != 0 {
		s.SetAttributes(attribute.Int("http.response.status_code", status), attribute.Int64("http.response.body.size", body))
	}
}

// ended ends the span of a scrape.
func (s *span) ended(outcome Outcome) {
	if s == nil {
		return
	}
	s.SetAttributes(attribute.String("sallyport.outcome", string(outcome)))
	if status := statuses[outcome]; status != 0 && outcome != OK {
		s.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	switch outcome {
	case OK, Cancelled:
	default:
		s.SetAttributes(attribute.String("error.type", string(outcome)))
		if statuses[outcome] >= http.StatusInternalServerError || outcome == Truncated {
			s.SetStatus(codes.Error, "")
		}
	}
	s.End()
}
