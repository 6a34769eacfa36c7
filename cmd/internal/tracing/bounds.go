package tracing

import (
	"errors"
	"fmt"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Bounds are how many spans wait and are sent at once, and how much of one is kept. The
// SDK would read these variables too, and believe whatever they say.
type Bounds struct {
	Delay       int `env:"OTEL_BSP_SCHEDULE_DELAY" noprefix:"true" envDefault:"5000" help:"milliseconds for which spans are gathered before they are sent"`
	SendTimeout int `env:"OTEL_BSP_EXPORT_TIMEOUT" noprefix:"true" envDefault:"30000" help:"milliseconds that sending what was gathered may take, further attempts included"`
	Queue       int `env:"OTEL_BSP_MAX_QUEUE_SIZE" noprefix:"true" envDefault:"2048" help:"how many spans may wait; those beyond are lost"`
	Batch       int `env:"OTEL_BSP_MAX_EXPORT_BATCH_SIZE" noprefix:"true" envDefault:"512" help:"how many spans are sent at once; where fewer may wait, as many as may wait"`
	ValueLength int `env:"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT" instead:"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT" noprefix:"true" envDefault:"-1" help:"characters that are kept of an attribute's value; -1: all"`
	Attributes  int `env:"OTEL_ATTRIBUTE_COUNT_LIMIT" instead:"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" noprefix:"true" envDefault:"128" help:"how many attributes are kept of a span; -1: all"`
}

func (b Bounds) validate() error {
	var faults []error
	for _, number := range []struct {
		variable           string
		value, least, most int
	}{
		{"OTEL_BSP_SCHEDULE_DELAY", b.Delay, 1, 600_000},
		{"OTEL_BSP_EXPORT_TIMEOUT", b.SendTimeout, 1, 600_000},
		{"OTEL_BSP_MAX_QUEUE_SIZE", b.Queue, 1, 1_000_000},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", b.Batch, 1, 1_000_000},
		{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", b.ValueLength, -1, 1_000_000},
		{"OTEL_ATTRIBUTE_COUNT_LIMIT", b.Attributes, -1, 1_000_000},
	} {
		if number.value < number.least || number.value > number.most {
			faults = append(faults, fmt.Errorf("%s: %d is not from %d to %d", number.variable, number.value, number.least, number.most))
		}
	}
	return errors.Join(faults...)
}

// batches are the bounds of what waits and is sent.
func (b Bounds) batches() []sdktrace.BatchSpanProcessorOption {
	return []sdktrace.BatchSpanProcessorOption{
		sdktrace.WithBatchTimeout(time.Duration(b.Delay) * time.Millisecond),
		sdktrace.WithExportTimeout(time.Duration(b.SendTimeout) * time.Millisecond),
		sdktrace.WithMaxQueueSize(b.Queue),
		sdktrace.WithMaxExportBatchSize(min(b.Batch, b.Queue)),
	}
}

// spans are the bounds of one span. Those of ours have neither events nor links.
func (b Bounds) spans() sdktrace.TracerProviderOption {
	return sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{
		AttributeValueLengthLimit: b.ValueLength,
		AttributeCountLimit:       b.Attributes,
	})
}
