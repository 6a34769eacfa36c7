package agent

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// traceparentBytes is how long the header of W3C Trace Context is. A proxy that sends
// anything else is not believed, and at worst our span belongs to no trace of its own.
const traceparentBytes = 55

// span is our part of a scrape that the proxy traces. A nil one is of a scrape that is
// not, and costs nothing: all methods may be called on it.
type span struct{ trace.Span }

// trace begins the span of a request; nil where the proxy traces nothing, or the
// operator has our sampler say so.
func (s *scraper) trace(ctx context.Context, req *tunnelv1.ScrapeRequest) *span {
	if s.tracer == nil || len(req.GetTraceparent()) != traceparentBytes {
		return nil
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": req.GetTraceparent()})
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return nil
	}
	_, began := s.tracer.Start(ctx, "scrape target", trace.WithSpanKind(trace.SpanKindClient))
	if !began.SpanContext().IsSampled() {
		began.End()
		return nil
	}
	return &span{began}
}

// of notes what is scraped: of the URL no more than the proxy's policy sees of it, for
// its query may hold a secret.
func (s *span) of(e *endpoint) {
	if s == nil {
		return
	}
	claim := e.route.GetTarget()
	s.SetAttributes(
		attribute.String("http.request.method", "GET"),
		attribute.String("url.scheme", claim.GetScheme()),
		attribute.String("server.address", claim.GetHost()),
		attribute.Int64("server.port", int64(claim.GetPort())),
		attribute.String("sallyport.route", e.target.Path),
	)
}

// ended ends the span.
func (s *span) ended(end ending, status int) {
	if s == nil {
		return
	}
	outcome := outcomeOf(end, status)
	s.SetAttributes(attribute.String("sallyport.outcome", outcome))
	if status != 0 {
		s.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	switch end.code {
	case tunnelv1.End_COMPLETE, tunnelv1.End_CANCELLED:
		if outcome == outcomeTargetStatus && status >= 400 {
			s.SetStatus(codes.Error, "")
		}
	default:
		s.SetAttributes(attribute.String("error.type", outcome))
		s.SetStatus(codes.Error, end.reason)
	}
	s.End()
}
