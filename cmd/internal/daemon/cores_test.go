package daemon_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
)

func TestCoresFollowTheLoad(t *testing.T) {
	t.Parallel()
	follow := daemon.Cores(8)
	const tick = 100 * time.Millisecond
	for i, step := range []struct {
		busy     float64 // in cores
		runnable int
		ticks    int
		want     int // at the end
	}{
		{0, 0, 100, 1},
		{0.8, 4, 100, 1},
		{1, 0, 1, 2}, {2, 0, 1, 4}, {4, 0, 1, 8}, {8, 0, 10, 8}, // at once
		{3, 0, 50, 8},                // it could not do with 4
		{0.1, 0, 29, 8},              // not for a moment of calm
		{8, 0, 1, 8}, {0.1, 0, 2, 8}, // which begins anew
		{0.1, 0, 28, 4}, {0.1, 0, 30, 2}, {0.6, 0, 30, 1}, {0, 0, 50, 1},
		{0.4, 5, 4, 1}, {0.4, 5, 1, 2}, // others use the machine, and work waits
		{0.4, 9, 4, 2}, {0.4, 8, 1, 2}, {0.4, 9, 4, 2}, {0.4, 9, 1, 4},
	} {
		got := 0
		for range step.ticks {
			got = follow(tick, time.Duration(step.busy*float64(tick)), step.runnable)
		}
		if got != step.want {
			t.Fatalf("step %d: %d cores, want %d", i, got, step.want)
		}
	}
}

// Not parallel: GOMAXPROCS is the whole process's.
func TestWhoSetsGOMAXPROCSDecides(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	runtime.GOMAXPROCS(before + 1)
	daemon.FollowLoad(ctx, []string{"HOME=/", "GOMAXPROCS=3"})
	if now := runtime.GOMAXPROCS(0); now != before+1 {
		t.Errorf("it is %d, and was set to %d", now, before+1)
	}
	daemon.FollowLoad(ctx, []string{"HOME=/"})
	if now := runtime.GOMAXPROCS(0); now != before {
		t.Errorf("it is left at %d of %d", now, before)
	}
}
