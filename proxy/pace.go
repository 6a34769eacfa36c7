package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
)

// How much an identity can make the proxy decide and write, all its sessions together:
// what it may hold, twice over, at once, since each session is replaced when it rotates;
// then 50 offers a second. Of what became of them the log has 128 lines at once, then one a
// second: the audit log and the answers have all.
const (
	offerPause = 20 * time.Millisecond
	linePause  = time.Second
	lineBurst  = 128
	// maxOffers is as good as no limit, and so many pauses fit into a duration.
	maxOffers = 1 << 30
)

// meter lets burst through at once, and then one each pause. It is the generic cell rate
// algorithm, as of ITU-T I.371: all that it keeps is when it will be empty.
type meter struct{ empty time.Time }

// take takes n and returns how long to wait before they are used.
func (m *meter) take(n, burst int, pause time.Duration, now time.Time) time.Duration {
	if m.empty.Before(now) {
		m.empty = now
	}
	m.empty = m.empty.Add(time.Duration(n) * pause)
	return max(0, m.empty.Sub(now)-time.Duration(burst)*pause)
}

// paces are those of the identities that did anything lately.
type paces struct {
	offers int // how many at once

	mu   sync.Mutex
	each map[authn.Identity]*pace
}

// pace is how fast an identity has been.
type pace struct {
	offers, lines meter
	unsaid        int // lines that were left out and not told of
}

func newPaces(cfg Config) *paces {
	return &paces{offers: int(min(2*int64(cfg.MaxRoutesPerSession)*int64(cfg.MaxSessionsPerIdentity), maxOffers)), each: make(map[authn.Identity]*pace)}
}

func (p *paces) ofLocked(id authn.Identity) *pace {
	own, ok := p.each[id]
	if !ok {
		own = new(pace)
		p.each[id] = own
	}
	return own
}

// wait lets an identity's offers through at its pace. Until then its messages are not
// read, so that nothing of them is lost.
func (p *paces) wait(ctx context.Context, id authn.Identity, offers int) error {
	p.mu.Lock()
	pause := p.ofLocked(id).offers.take(offers, p.offers, offerPause, time.Now())
	p.mu.Unlock()
	if pause == 0 {
		return nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// mayLog takes a line about what an identity did.
func (p *paces) mayLog(id authn.Identity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	own, now := p.ofLocked(id), time.Now()
	if own.lines.empty.Sub(now) >= lineBurst*linePause {
		own.unsaid++
		return false
	}
	own.lines.take(1, lineBurst, linePause, now)
	return true
}

// sweep forgets who was slow for long, and returns how many lines of whom were left out
// since it was called last.
func (p *paces) sweep(now time.Time) map[authn.Identity]int {
	unsaid := make(map[authn.Identity]int)
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, own := range p.each {
		if own.unsaid > 0 {
			unsaid[id], own.unsaid = own.unsaid, 0
		}
		if own.offers.empty.Before(now) && own.lines.empty.Before(now) {
			delete(p.each, id)
		}
	}
	return unsaid
}
