package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
)

// How much an identity can make the proxy decide and write. At once it may offer what it
// may hold, twice over, since each session is replaced when it rotates; then each of its
// sessions 50 a second, so that none waits for the others' offers and every answer is in
// time for the agent. Of what became of them the log has 128 lines at once of what went
// wrong and as many of the rest, then one a second: the audit log and the answers have all.
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

// take takes n, if there is room for them all.
func (m *meter) take(n, burst int, pause time.Duration, now time.Time) bool {
	if m.empty.Before(now) {
		m.empty = now
	}
	after := m.empty.Add(time.Duration(n) * pause)
	if after.Sub(now) > time.Duration(burst)*pause {
		return false
	}
	m.empty = after
	return true
}

// paces are those of the identities that did anything lately.
type paces struct {
	offers int // how many at once

	mu   sync.Mutex
	each map[authn.Identity]*pace
}

// pace is how fast an identity has been.
type pace struct {
	offers, warnings, lines meter
	slowed                  int // offers that waited, and were not told of
	unsaid                  int // lines that were left out, likewise
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

// wait lets an identity's offers through at its pace. Until then the session's messages are
// not read, so that nothing of them is lost.
func (p *paces) wait(ctx context.Context, id authn.Identity, offers int) error {
	if p.atOnce(id, offers) {
		return nil
	}
	timer := time.NewTimer(time.Duration(offers) * offerPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *paces) atOnce(id authn.Identity, offers int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := p.ofLocked(id)
	ok := own.offers.take(offers, p.offers, offerPause, time.Now())
	if !ok {
		own.slowed += offers
	}
	return ok
}

// mayLog takes a line about what an identity did, or a warning, of which none is lost to
// the others.
func (p *paces) mayLog(id authn.Identity, warning bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := p.ofLocked(id)
	lines := &own.lines
	if warning {
		lines = &own.warnings
	}
	ok := lines.take(1, lineBurst, linePause, time.Now())
	if !ok {
		own.unsaid++
	}
	return ok
}

// haste is what of an identity's was slowed down and left out.
type haste struct {
	identity       authn.Identity
	slowed, unsaid int
}

// sweep forgets who was slow for long, and returns who was too fast since it was called
// last.
func (p *paces) sweep(now time.Time) []haste {
	var fast []haste
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, own := range p.each {
		if own.slowed > 0 || own.unsaid > 0 {
			fast = append(fast, haste{id, own.slowed, own.unsaid})
			own.slowed, own.unsaid = 0, 0
		}
		if own.offers.empty.Before(now) && own.lines.empty.Before(now) && own.warnings.empty.Before(now) {
			delete(p.each, id)
		}
	}
	return fast
}
