package agent

import (
	"context"
	"log/slog"
	"time"
)

// What a proxy says of routes is logged, but not as often as it likes: so many lines a
// minute, and then how many there were besides. The status page has each route.
const (
	rationLines  = 250
	rationPeriod = time.Minute
)

// ration bounds the lines that a peer can cause at will.
type ration struct {
	log          *slog.Logger
	since        time.Time
	said, unsaid int
}

// tell logs a line at a time, or counts it.
func (r *ration) tell(now time.Time, level slog.Level, message string, facts ...any) {
	ctx := context.Background()
	if !r.log.Enabled(ctx, level) {
		return // and takes no place of one that is logged
	}
	if now.Sub(r.since) >= rationPeriod {
		r.close()
		r.since, r.said = now, 0
	}
	if r.said++; r.said > rationLines {
		r.unsaid++
		return
	}
	r.log.Log(ctx, level, message, facts...)
}

// close tells how many lines were left out.
func (r *ration) close() {
	if r.unsaid > 0 {
		r.log.Warn("the proxy answers more than is logged", "lines_left_out", r.unsaid)
	}
	r.unsaid = 0
}
