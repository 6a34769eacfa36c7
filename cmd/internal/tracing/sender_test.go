package tracing_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/cmd/internal/tracing"
	"github.com/seed-951114d4/sallyport/testenv"
)

// What a collector answers is told in a line that it cannot make long.
func TestCollectorsRefusalIsTold(t *testing.T) {
	t.Parallel()
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte("no such\ntenant " + strings.Repeat("é", 1<<19)))
	}))
	defer collector.Close()
	cfg, err := load(t, "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, "OTEL_BSP_SCHEDULE_DELAY=1", "OTEL_BSP_MAX_QUEUE_SIZE=1")
	if err != nil {
		t.Fatal(err)
	}
	var out testenv.Logs
	made, err := tracing.New(cfg, "program", "v1", slog.New(slog.NewJSONHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- made.Run(ctx) }()
	testenv.Eventually(t, func() error {
		_, span := made.Tracer().Start(ctx, "scrape")
		span.End()
		if !strings.Contains(out.String(), "traces cannot be sent") {
			return errors.New("nothing is said of it")
		}
		return nil
	})
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if got := out.String(); !strings.Contains(got, "no such tenant") || len(got) > 4<<10 {
		t.Errorf("%d bytes in the log: %.1000s", len(got), got)
	}
}
