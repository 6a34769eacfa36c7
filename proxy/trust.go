package proxy

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// follow calls judge whenever what changed tells of has changed, since next was
// asked for.
func follow(ctx context.Context, next <-chan struct{}, changed func() <-chan struct{}, judge func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-next:
		}
		// Asked for before judging, so that a change meanwhile is not missed.
		next = changed()
		judge()
	}
}

// judgePeers ends the sessions whose peer the trust in force no longer proves. A
// session that is being admitted is noted before it is judged: it is either found
// here or judged by what is in force now.
func (p *Proxy) judgePeers() {
	began := time.Now()
	var ended atomic.Int64
	var group errgroup.Group
	group.SetLimit(p.cores)
	sessions := p.sessions.all()
	for _, s := range sessions {
		group.Go(func() error {
			if p.hold(s) {
				ended.Add(1)
			}
			return nil
		})
	}
	_ = group.Wait()
	took := time.Since(began)
	p.log.Info("sessions judged by new trust", "sessions", len(sessions), "ended", ended.Load(), "took", took.Round(time.Microsecond).String())
}

// judgeScrapers ends the scrapes in flight whose scraper's credential the trust in
// force no longer proves. A scrape is noted before its scraper is identified.
func (p *Proxy) judgeScrapers() {
	for _, fl := range p.flights.everyOne() {
		if _, err := (scrapes{p}).identify(fl.ctx, fl.token); err != nil {
			fl.cancel(fmt.Errorf("%w: %w", errLapsed, err))
			p.metrics.revocations.WithLabelValues("scrape").Inc()
		}
	}
}
