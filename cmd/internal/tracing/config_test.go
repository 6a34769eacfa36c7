package tracing_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/cmd/internal/config"
	"github.com/seed-951114d4/sallyport/cmd/internal/tracing"
	"github.com/seed-951114d4/sallyport/testenv"
)

// load is the configuration that these variables make.
func load(t *testing.T, environ ...string) (tracing.Config, error) {
	t.Helper()
	var cfg tracing.Config
	faults := config.Load(environ, &cfg)
	_, err := tracing.New(cfg, "program", "v1", slog.New(slog.DiscardHandler))
	faults.Add(err)
	return cfg, faults.Err()
}

// What is wrong is a fault of the configuration that names its variable, and no value
// that is secret.
func TestFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(key, []byte("hunter2"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		environ []string
		faults  []string
	}{
		"nothing":  {nil, nil},
		"defaults": {[]string{"OTEL_TRACES_EXPORTER=otlp"}, nil},
		"of what is off nothing but the switch is judged": {[]string{"OTEL_TRACES_SAMPLER=x", "OTEL_EXPORTER_OTLP_ENDPOINT=x"}, nil},
		"an exporter that there is not":                   {[]string{"OTEL_TRACES_EXPORTER=zipkin"}, []string{"OTEL_TRACES_EXPORTER"}},
		"all at once": {[]string{
			"OTEL_TRACES_EXPORTER=otlp", "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=2", "OTEL_RESOURCE_ATTRIBUTES=a",
			"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317", "OTEL_EXPORTER_OTLP_HEADERS=hunter2", "OTEL_EXPORTER_OTLP_TIMEOUT=0",
			"OTEL_EXPORTER_OTLP_CERTIFICATE=/absent", "OTEL_EXPORTER_OTLP_COMPRESSION=zstd", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + key, "OTEL_EXPORTER_OTLP_CLIENT_KEY=" + key,
		}, []string{
			"OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_TRACES_SAMPLER_ARG", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_HEADERS",
			"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY",
		}},
		"no switch":               {[]string{"OTEL_SDK_DISABLED=hunter"}, []string{"OTEL_SDK_DISABLED"}},
		"one of the traces alone": {[]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_TIMEOUT=1", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=10s"}, []string{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"}},
		"bounds that no queue can have": {[]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_BSP_MAX_QUEUE_SIZE=-1", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=1000000000000000", "OTEL_BSP_SCHEDULE_DELAY=0", "OTEL_BSP_EXPORT_TIMEOUT=-1", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT=-2", "OTEL_ATTRIBUTE_COUNT_LIMIT=many"}, []string{
			"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
		}},
		"a path that gRPC has not":      {[]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=https://c/v1"}, []string{"OTEL_EXPORTER_OTLP_ENDPOINT"}},
		"a credential in the open":      {[]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318", "OTEL_EXPORTER_OTLP_HEADERS=key=hunter2"}, []string{"OTEL_EXPORTER_OTLP_HEADERS"}},
		"a credential on this machine":  {[]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318", "OTEL_EXPORTER_OTLP_HEADERS=key=hunter2"}, nil},
		"certificates without TLS":      {[]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_CERTIFICATE=" + key}, []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_CERTIFICATE"}},
		"a password where none belongs": {[]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT=https://u:hunter2@c"}, []string{"OTEL_EXPORTER_OTLP_ENDPOINT"}},
	} {
		_, err := load(t, c.environ...)
		var variables []string
		if err != nil {
			for fault := range strings.SplitSeq(err.Error(), "\n") {
				variable, _, _ := strings.Cut(fault, ":")
				variables = append(variables, variable)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: a secret in %v", name, err)
			}
		}
		if !slices.Equal(variables, c.faults) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Without being asked for there is no tracer: nothing then costs anything.
func TestOff(t *testing.T) {
	t.Parallel()
	for name, environ := range map[string][]string{
		"by default": {"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318"},
		"disabled":   {"OTEL_TRACES_EXPORTER=otlp", "OTEL_SDK_DISABLED=true"},
	} {
		cfg, err := load(t, environ...)
		if err != nil {
			t.Fatal(err)
		}
		made, err := tracing.New(cfg, "program", "v1", slog.New(slog.DiscardHandler))
		if err != nil || made.Tracer() != nil {
			t.Errorf("%s: %v, %v", name, made.Tracer(), err)
		}
	}
	if (*tracing.Tracing)(nil).Tracer() != nil {
		t.Error("what could not be made has a tracer")
	}
}

func TestReadmeListsVariables(t *testing.T) {
	t.Parallel()
	var table strings.Builder
	if err := config.Table(&table, new(tracing.Config)); err != nil {
		t.Fatal(err)
	}
	testenv.Readme(t, "tracing variables", table.String())
}
