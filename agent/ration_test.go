package agent

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A line that the level leaves out takes no place of one that is logged, and is not
// missed.
func TestRationIsOfWhatIsLogged(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	r := ration{log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	now := time.Now()
	for range 2 * rationLines {
		r.tell(now, slog.LevelInfo, "routes registered")
	}
	r.tell(now, slog.LevelWarn, "route refused")
	r.close()
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "route refused") {
		t.Errorf("logged %q", got)
	}
}
