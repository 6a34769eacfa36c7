package testenv_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/seed-951114d4/sallyport/testenv"
)

// collector is an OpenTelemetry collector that keeps what it is sent, by either protocol.
type collector struct {
	collectorv1.UnimplementedTraceServiceServer
	http, grpc string // URLs

	mu    sync.Mutex
	key   string // what came in the header x-key
	spans map[string]sent
}

// sent is a span as it arrived.
type sent struct {
	*tracev1.Span
	service string
}

func (s sent) attribute(key string) string { return attributeOf(s.GetAttributes(), key) }

func attributeOf(attributes []*commonv1.KeyValue, key string) string {
	for _, attribute := range attributes {
		if attribute.GetKey() == key {
			switch value := attribute.GetValue().GetValue().(type) {
			case *commonv1.AnyValue_StringValue:
				return value.StringValue
			case *commonv1.AnyValue_IntValue:
				return fmt.Sprint(value.IntValue)
			case *commonv1.AnyValue_BoolValue:
				return fmt.Sprint(value.BoolValue)
			}
		}
	}
	return ""
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{spans: make(map[string]sent)}
	web := httptest.NewServer(c)
	t.Cleanup(web.Close)
	c.http = web.URL
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	c.grpc = "http://" + listener.Addr().String()
	return c
}

// ServeHTTP takes OTLP over HTTP.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" && err == nil {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(z)
		}
	}
	request := new(collectorv1.ExportTraceServiceRequest)
	if err == nil {
		err = proto.Unmarshal(body, request)
	}
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(r.Method, r.URL.Path, err), http.StatusBadRequest)
		return
	}
	c.take(request, r.Header.Get("X-Key"))
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// Export takes OTLP over gRPC.
func (c *collector) Export(ctx context.Context, request *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	key := ""
	if values := metadata.ValueFromIncomingContext(ctx, "x-key"); len(values) > 0 {
		key = values[0]
	}
	c.take(request, key)
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func (c *collector) take(request *collectorv1.ExportTraceServiceRequest, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key = key
	for _, resource := range request.GetResourceSpans() {
		service := attributeOf(resource.GetResource().GetAttributes(), "service.name")
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans[hex.EncodeToString(span.GetSpanId())] = sent{span, service}
			}
		}
	}
}

// all are the spans so far, by name; two of one name are a fault.
func (c *collector) all() (map[string]sent, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	byName := make(map[string]sent)
	for _, span := range c.spans {
		if _, ok := byName[span.GetName()]; ok {
			return nil, fmt.Errorf("two spans %q", span.GetName())
		}
		byName[span.GetName()] = span
	}
	return byName, nil
}

// await waits for that many spans.
func (c *collector) await(t *testing.T, count int) map[string]sent {
	t.Helper()
	var spans map[string]sent
	testenv.Eventually(t, func() (err error) {
		if spans, err = c.all(); err == nil && len(spans) < count {
			err = errors.New("spans are missing")
		}
		return err
	})
	return spans
}
