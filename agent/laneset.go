package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

const (
	// A lane that ended sooner than this, without a scrape, did not work: the
	// next is not opened at once.
	goodLane       = time.Second
	laneRetryBase  = 100 * time.Millisecond
	laneRetryMost  = 5 * time.Second
	laneRetryTimes = 2
	// A proxy that shrinks says so and ends lanes, which may come in any order:
	// the end of a lane is taken for a wish only after this.
	laneSettle = 50 * time.Millisecond
)

// laneSet keeps as many lanes of a session open as the proxy wants, within the
// agent's own limit.
type laneSet struct {
	client  tunnelv1.TunnelClient
	scraper *scraper
	log     *slog.Logger
	metrics *metrics

	limit, wanted, open int
	retry               backoff
	notBefore           time.Time // when to open the next; zero: now

	ended    chan laneEnd // has room for every lane
	draining chan struct{}
	wg       sync.WaitGroup
}

// laneEnd is what remains of a lane.
type laneEnd struct {
	err    error
	worked bool
}

func newLaneSet(client tunnelv1.TunnelClient, scraper *scraper, limit int, log *slog.Logger, m *metrics) *laneSet {
	return &laneSet{
		client: client, scraper: scraper, log: log, metrics: m,
		limit:    limit,
		wanted:   1,
		retry:    backoff{base: laneRetryBase, most: laneRetryMost, factor: laneRetryTimes},
		ended:    make(chan laneEnd, limit),
		draining: make(chan struct{}),
	}
}

// want takes the proxy's word on how many lanes there should be. It closes none:
// to shrink is the proxy's doing.
func (ls *laneSet) want(total uint32) { ls.wanted = int(min(total, uint32(ls.limit))) }

// reconcile opens the lanes that are missing.
func (ls *laneSet) reconcile(ctx context.Context, now time.Time) {
	if now.Before(ls.notBefore) {
		return
	}
	ls.notBefore = time.Time{}
	for ls.open < ls.wanted {
		ls.open++
		ls.wg.Go(func() {
			ls.metrics.lanes.Inc()
			defer ls.metrics.lanes.Dec()
			begun := time.Now()
			scrapes, err := runLane(ctx, ls.client, ls.scraper, ls.draining)
			ls.ended <- laneEnd{err: err, worked: scrapes > 0 || time.Since(begun) >= goodLane}
		})
	}
}

// gone notes the end of a lane.
func (ls *laneSet) gone(end laneEnd, now time.Time) {
	ls.open--
	facts := []any{"open", ls.open, "wanted", ls.wanted}
	if end.err != nil {
		facts = append(facts, "error", sayableError(end.err))
	}
	ls.log.Debug("lane ended", facts...)
	switch {
	case ls.open >= ls.wanted:
		ls.retry.reset()
	case end.worked:
		ls.retry.reset()
		ls.notBefore = now.Add(laneSettle)
	default:
		ls.notBefore = now.Add(ls.retry.next())
	}
}

// due is when reconcile has something to do, zero for never or at once.
func (ls *laneSet) due() time.Time {
	if ls.open < ls.wanted {
		return ls.notBefore
	}
	return time.Time{}
}

// drain has each lane finish its scrape and end.
func (ls *laneSet) drain() {
	ls.wanted = 0
	close(ls.draining)
}

// wait returns when all lanes have ended, which the end of their context sees to.
func (ls *laneSet) wait() { ls.wg.Wait() }
