package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
)

// flushTimeout is how long a stop may take for the spans that are left.
const flushTimeout = 3 * time.Second

// Tracing makes spans and sends them.
type Tracing struct {
	provider *sdktrace.TracerProvider // nil: off
	sender   *sender
	bounds   Bounds
	conn     *grpc.ClientConn // nil: not over gRPC
	target   string
	plain    bool // unencrypted, to another machine
	unused   bool // a collector is configured, and nothing is sent to it
	log      *slog.Logger
}

// New makes what cfg asks for, as the spans of that program. It starts nothing, and
// reports every fault of cfg at once.
func New(cfg Config, program, version string, log *slog.Logger) (*Tracing, error) {
	t := &Tracing{log: log, unused: cfg.Endpoint != "" || cfg.TracesEndpoint != ""}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if !cfg.On() {
		return t, nil
	}
	otel.SetLogger(logr.Discard())
	client, err := t.newClient(cfg)
	if err != nil {
		return nil, err
	}
	described, err := describe(cfg, program, version)
	if err != nil {
		return nil, err
	}
	sampler, err := cfg.sampler()
	if err != nil {
		return nil, err
	}
	t.bounds = cfg.Bounds
	t.sender = &sender{SpanExporter: otlptrace.NewUnstarted(client), log: log}
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithResource(described), sdktrace.WithSampler(sampler), cfg.Bounds.spans())
	return t, nil
}

// Tracer is nil where nothing is traced.
func (t *Tracing) Tracer() trace.Tracer {
	if t == nil || t.provider == nil {
		return nil
	}
	return t.provider.Tracer("github.com/seed-951114d4/sallyport")
}

// Run sends spans until ctx ends, and then those that are left.
func (t *Tracing) Run(ctx context.Context) error {
	if t.provider == nil {
		if t.unused {
			t.log.Info("no traces are sent: OTEL_TRACES_EXPORTER is not otlp, or OTEL_SDK_DISABLED is true")
		}
		<-ctx.Done()
		return nil
	}
	if err := t.sender.start(ctx); err != nil {
		return fmt.Errorf("starting to send traces: %w", err)
	}
	t.provider.RegisterSpanProcessor(sdktrace.NewBatchSpanProcessor(t.sender, t.bounds.batches()...))
	t.log.Info("sending traces", "to", t.target)
	if t.plain {
		t.log.Warn("traces go unencrypted over the network: OTEL_EXPORTER_OTLP_ENDPOINT is http and not of this machine", "to", t.target)
	}
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	err := t.provider.Shutdown(grace)
	if t.conn != nil {
		err = errors.Join(err, t.conn.Close())
	}
	if err != nil {
		t.log.Warn("the last traces were not sent", "to", t.target, "error", inBrief(err))
	}
	return nil
}

// describe says what the spans are of.
func describe(cfg Config, program, version string) (*resource.Resource, error) {
	all, err := cfg.attributes()
	if err != nil {
		return nil, err
	}
	of := map[string]string{"service.name": program, "service.version": version}
	maps.Copy(of, all)
	if cfg.Service != "" {
		of["service.name"] = cfg.Service
	}
	attributes := make([]attribute.KeyValue, 0, len(of))
	for _, key := range slices.Sorted(maps.Keys(of)) {
		attributes = append(attributes, attribute.String(key, of[key]))
	}
	return resource.NewSchemaless(attributes...), nil
}

// samplers are what a sampler may be called.
var samplers = []string{
	"always_on", "always_off", "traceidratio",
	"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
}

func (c Config) sampler() (sdktrace.Sampler, error) {
	share, err := c.ratio()
	if err != nil {
		return nil, err
	}
	word, byParent := strings.CutPrefix(c.Sampler, "parentbased_")
	var root sdktrace.Sampler
	switch word {
	case "always_on":
		root = sdktrace.AlwaysSample()
	case "always_off":
		root = sdktrace.NeverSample()
	default:
		root = sdktrace.TraceIDRatioBased(share)
	}
	if byParent {
		return sdktrace.ParentBased(root), nil
	}
	return root, nil
}
