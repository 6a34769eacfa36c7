package tracing

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// newClient makes what speaks to the collector. Both kinds get a connection of ours, so
// that there is no proxy from the environment and nothing is verified less than we say.
func (t *Tracing) newClient(cfg Config) (otlptrace.Client, error) {
	endpoint, err := cfg.endpoint()
	if err != nil {
		return nil, err
	}
	headers, err := cfg.headers()
	if err != nil {
		return nil, err
	}
	secured, err := cfg.tls()
	if err != nil {
		return nil, err
	}
	t.target = endpoint.String()
	t.plain = endpoint.Scheme == "http" && !thisMachine(endpoint.Hostname())
	if cfg.Protocol == overGRPC {
		creds := credentials.NewTLS(secured)
		if endpoint.Scheme == "http" {
			creds = insecure.NewCredentials()
		}
		// It dials when there is something to send.
		if t.conn, err = grpc.NewClient(target(endpoint), grpc.WithTransportCredentials(creds), grpc.WithNoProxy(), grpc.WithDisableServiceConfig()); err != nil {
			return nil, err
		}
		options := []otlptracegrpc.Option{
			otlptracegrpc.WithGRPCConn(t.conn), otlptracegrpc.WithHeaders(headers), otlptracegrpc.WithTimeout(cfg.timeout()),
		}
		if cfg.Compression == "gzip" {
			options = append(options, otlptracegrpc.WithCompressor("gzip"))
		}
		return otlptracegrpc.NewClient(options...), nil
	}
	compression := otlptracehttp.NoCompression
	if cfg.Compression == "gzip" {
		compression = otlptracehttp.GzipCompression
	}
	client := &http.Client{
		Timeout: cfg.timeout(),
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSClientConfig:     secured,
			TLSHandshakeTimeout: 10 * time.Second,
			ForceAttemptHTTP2:   true,
			MaxIdleConns:        2,
			IdleConnTimeout:     90 * time.Second,
		},
		// The headers are for the collector that was named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return otlptracehttp.NewClient(
		otlptracehttp.WithEndpointURL(endpoint.String()), otlptracehttp.WithHTTPClient(client),
		otlptracehttp.WithHeaders(headers), otlptracehttp.WithCompression(compression), otlptracehttp.WithTimeout(cfg.timeout()),
	), nil
}

// sender says once when spans cannot be sent, and once when they can again; the SDK
// would write a line of its own for each batch.
type sender struct {
	sdktrace.SpanExporter
	failing atomic.Bool
	log     *slog.Logger
}

func (s *sender) start(ctx context.Context) error {
	return s.SpanExporter.(*otlptrace.Exporter).Start(ctx)
}

// ExportSpans implements sdktrace.SpanExporter.
func (s *sender) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := s.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !s.failing.Swap(true):
		s.log.Warn("traces cannot be sent and are lost: see OTEL_EXPORTER_OTLP_ENDPOINT", "error", inBrief(err))
	case err == nil && s.failing.Swap(false):
		s.log.Info("traces are sent again")
	}
	return nil
}

// inBrief is what went wrong in one line of the log. It may hold all that the collector,
// or whatever answers in its place, chose to say.
func inBrief(err error) string {
	const most = 500
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
