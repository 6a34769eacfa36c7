package daemon_test

import (
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
)

func TestCoresFollowTheLoad(t *testing.T) {
	t.Parallel()
	follow := daemon.Cores(8)
	const tick = 200 * time.Millisecond
	for i, step := range []struct {
		load  float64 // in cores
		ticks int
		want  int // at the end
	}{
		{0, 100, 1},
		{0.8, 100, 1},
		{1, 1, 2}, {2, 1, 4}, {4, 1, 8}, {8, 10, 8}, // at once
		{3, 50, 8},             // it could not do with 4
		{0.1, 14, 8},           // not for a moment of calm
		{8, 1, 8}, {0.1, 1, 8}, // which begins anew
		{0.1, 14, 4}, {0.1, 15, 2}, {0.6, 15, 1}, {0, 50, 1},
	} {
		got := 0
		for range step.ticks {
			got = follow(time.Duration(step.load*float64(tick)), tick)
		}
		if got != step.want {
			t.Fatalf("step %d: %d cores, want %d", i, got, step.want)
		}
	}
}
