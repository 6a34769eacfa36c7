package daemon

import (
	"context"
	"log/slog"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
)

// Others is what each daemon is told of the other's variables.
var Others = others

// FollowLoad adapts GOMAXPROCS until its context ends.
var FollowLoad = followLoad

// Cores is how a daemon that may use so many cores follows its load.
func Cores(most int) func(took, used time.Duration, runnable int) int {
	c := &cores{now: 1, most: most}
	return func(took, used time.Duration, runnable int) int {
		return c.follow(load{took: took, used: used, runnable: runnable})
	}
}

// WatchExpiry is a part of Keep.
func WatchExpiry(ctx context.Context, source authn.Source, log *slog.Logger) {
	(&expiry{source: source, log: log}).watch(ctx)
}
