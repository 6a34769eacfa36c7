package daemon_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/seed-951114d4/sallyport/cmd/internal/config"
	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/cmd/internal/logging"
)

// TestStopWhilePreparing: a signal that comes while the policy compiles is no fault of
// the configuration. A check that was cut short has found nothing to be good.
func TestStopWhilePreparing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want int
	}{
		{nil, daemon.ExitStopped},
		{[]string{"check"}, daemon.ExitMisconfigured},
	} {
		ctx, stop := context.WithCancel(t.Context())
		var settings struct{ Log logging.Config }
		status := daemon.Program{
			Name: "test", Settings: &settings, Logging: &settings.Log,
			Prepare: func(ctx context.Context, _ *slog.Logger, faults *config.Faults) daemon.Job {
				stop()
				faults.Add(ctx.Err())
				return nil
			},
		}.Main(ctx, test.args, nil, io.Discard, io.Discard)
		if status != test.want {
			t.Errorf("%q: exit status %d, want %d", test.args, status, test.want)
		}
	}
}
