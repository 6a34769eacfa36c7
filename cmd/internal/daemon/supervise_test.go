package daemon_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// TestHelpersOutliveTheDrain: while the main part drains, its helpers work on.
func TestHelpersOutliveTheDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var drained, released time.Time
		time.AfterFunc(time.Second, stop)
		err := daemon.Supervise(ctx, func(ctx context.Context) error {
			<-ctx.Done()
			<-time.After(time.Minute) // scrapes in flight
			drained = time.Now()
			return nil
		}, daemon.Helper{Name: "health", Run: func(ctx context.Context) error {
			<-ctx.Done()
			released = time.Now()
			return nil
		}})
		if err != nil {
			t.Error(err)
		}
		if released.Before(drained) {
			t.Errorf("the helper was stopped %v before the drain was over", drained.Sub(released))
		}
	})
}

func TestHelperFailureStopsAll(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		helper func(context.Context) error
		want   string
	}{
		"failure": {func(context.Context) error { return broken }, "broken"},
		"ends":    {func(context.Context) error { return nil }, "the clock ended by itself"},
	} {
		err := daemon.Supervise(t.Context(), untilDone,
			daemon.Helper{Name: "the clock", Run: c.helper}, daemon.Helper{Name: "health", Run: untilDone})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestMainFailureStopsHelpers(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	err := daemon.Supervise(t.Context(), func(context.Context) error { return broken },
		daemon.Helper{Name: "health", Run: untilDone})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
