package agent

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	redialBase   = 250 * time.Millisecond
	redialFactor = 1.6
	redialMost   = 5 * time.Second
	// A session that lasted this long was a good one: the next attempt does not
	// wait for the failures before it.
	goodSession = 5 * time.Second
	// A rotation begins a little later than it might, so that a fleet that was
	// given certificates at once does not come at once: by up to a hundredth of
	// the time that the old one or the new one has left, and no more than this.
	maxRotationJitter = 10 * time.Second
	// Longer than anything is waited for without looking at the clock again.
	longPause = time.Hour
)

// link keeps one proxy address connected. Each session has a connection of its
// own. There are two of them while one takes over from the other, and never more.
//
// A single goroutine, keep's, owns all but what mu guards.
type link struct {
	addr  string
	agent *Agent
	log   *slog.Logger

	serving *attempt // the one in use, or to be; nil: there is none
	next    *attempt // to take over once it is settled
	leaving *attempt // was taken over from, and drains

	wait      backoff
	notBefore time.Time // when the next attempt may begin
	told      string    // the failure that the log told last

	rotateTo *tls.Certificate // the certificate that rotateAt is for
	rotateAt time.Time

	mu    sync.Mutex
	front *attempt // whose reason is the link's; nil until the first
}

func newLink(a *Agent, addr string) *link {
	return &link{
		addr: addr, agent: a, log: a.log.With("proxy", addr),
		wait: backoff{base: redialBase, most: redialMost, factor: redialFactor},
	}
}

// missing says why the link is not ready, "" when it is.
func (l *link) missing() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.front == nil {
		return "not yet connected"
	}
	return l.front.standing.reason
}

// keep has sessions until stop ends, and the last ones drained. ctx ends later: it
// cuts off what has not drained by then.
func (l *link) keep(ctx, stop context.Context) {
	changed := l.agent.identity.Changed()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for stop.Err() == nil {
		timer.Reset(l.advance(ctx, time.Now()))
		select {
		case <-stop.Done():
		case <-timer.C:
		case <-changed:
			// Whatever kept us waiting may be over.
			changed = l.agent.identity.Changed()
			l.notBefore = time.Time{}
			l.wait.reset()
		case <-l.serving.settling():
			l.serving.noted = true
		case <-l.next.settling():
			l.handOver()
		case <-l.serving.ending():
			l.lost(time.Now())
		case <-l.next.ending():
			l.missed(time.Now())
		case <-l.leaving.ending():
			l.left()
		}
	}
	l.finish()
}

// advance begins the attempt that is due, and returns how long nothing will be due
// by itself.
func (l *link) advance(ctx context.Context, now time.Time) time.Duration {
	due, ok := l.due(now)
	switch {
	case !ok:
		return longPause
	case now.Before(due):
		return due.Sub(now)
	case l.serving == nil:
		l.begin(ctx, &l.serving)
	case l.leaving == nil:
		l.begin(ctx, &l.next)
	default:
		return l.hurry(now)
	}
	return longPause
}

// due is when the next attempt is to begin; false: not before something happens.
func (l *link) due(now time.Time) (time.Time, bool) {
	switch {
	case l.serving == nil:
		return l.notBefore, true
	case l.next != nil || !l.serving.noted:
		return time.Time{}, false
	}
	m, err := l.agent.identity.Material()
	if err != nil {
		return time.Time{}, false // a new session cannot be had
	}
	due := l.serving.renewAt
	if m.Certificate != l.serving.certificate {
		if m.Certificate != l.rotateTo {
			l.rotateTo = m.Certificate
			l.rotateAt = now.Add(rotationJitter(min(l.serving.goodUntil.Sub(now), m.NotAfter().Sub(now))))
		}
		if due.IsZero() || l.rotateAt.Before(due) {
			due = l.rotateAt
		}
	}
	if l.notBefore.After(due) && !due.IsZero() {
		due = l.notBefore
	}
	return due, !due.IsZero()
}

// rotationJitter is how long to wait where the certificates have that long left.
func rotationJitter(left time.Duration) time.Duration {
	most := min(left/100, maxRotationJitter)
	if most <= 0 {
		return 0
	}
	return rand.N(most)
}

// hurry waits for the session that drains, which keeps the next one out. It does
// so for half of the time for which the one in use is good.
func (l *link) hurry(now time.Time) time.Duration {
	if l.leaving.cutAt.IsZero() {
		l.leaving.cutAt = now.Add(max(l.serving.goodUntil.Sub(now), 0) / 2)
	}
	if wait := l.leaving.cutAt.Sub(now); wait > 0 {
		return wait
	}
	l.leaving.cut()
	return longPause
}

// begin starts an attempt in a place that is free.
func (l *link) begin(ctx context.Context, place **attempt) {
	a := newAttempt(l)
	*place = a
	if place == &l.serving {
		l.succeed(a)
	}
	ctx, a.cut = context.WithCancel(ctx)
	stop, drain := context.WithCancel(ctx)
	a.drain = drain
	go a.run(ctx, stop)
}

// succeed makes a's readiness the link's, which is that of the one before until a says
// otherwise.
func (l *link) succeed(a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.standing.reason = "not yet connected"
	if l.front != nil {
		before := l.front.standing
		a.standing.reason, a.standing.hint, a.standing.since = before.reason, before.hint, before.since
	}
	l.front = a
}

// show makes a's readiness the link's.
func (l *link) show(a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.front = a
}

// handOver drains the session in use: the next one has all routes.
func (l *link) handOver() {
	l.next.noted = true
	l.leaving, l.serving, l.next = l.serving, l.next, nil
	l.show(l.serving)
	l.leaving.drain()
	l.wait.reset()
	l.told = ""
	l.agent.metrics.rotations.Inc()
	l.log.Info("session rotated, draining the old one", "not_after", l.serving.goodUntil)
}

// lost notes the end of the session in use, or of an attempt to have one.
func (l *link) lost(now time.Time) {
	a := l.serving
	l.serving, l.next = l.next, nil
	l.tell(a)
	if l.serving != nil {
		l.show(l.serving)
		return
	}
	if a.lasted >= goodSession {
		l.wait.reset()
	}
	l.notBefore = now.Add(l.wait.next())
}

// missed notes an attempt that did not come to take over.
func (l *link) missed(now time.Time) {
	a := l.next
	l.next = nil
	l.notBefore = now.Add(l.wait.next())
	l.tellFailure(a, "no session to rotate to, keeping the old one and trying again")
}

// left notes the end of a session that was taken over from.
func (l *link) left() {
	if err := l.leaving.err; err != nil {
		l.log.Warn("session ended before it was drained", "error", sayableError(err))
	}
	l.leaving = nil
}

// finish drains all there is and waits for it.
func (l *link) finish() {
	all := []*attempt{l.leaving, l.serving, l.next}
	for _, a := range all {
		if a != nil {
			a.drain()
		}
	}
	for _, a := range all {
		if a == nil {
			continue
		}
		<-a.ended
		if a.lasted > 0 && a.err != nil {
			l.log.Warn("session ended before it was drained", "error", sayableError(a.err))
		}
	}
}

// tell logs how an attempt ended if that is news: the end of a session always,
// a failure to begin one when it differs from what was told before.
func (l *link) tell(a *attempt) {
	reason := "connection ended"
	if a.err != nil {
		reason = sayableError(a.err)
	}
	a.say(reason)
	l.suggest(a, hint(a.err))
	if a.lasted > 0 {
		l.log.Warn("session ended, connecting again", withHint([]any{"error", reason}, hint(a.err))...)
		l.told = ""
		return
	}
	l.tellFailure(a, "no session, trying again until there is one")
}

// suggest says what to look at.
func (l *link) suggest(a *attempt, hint string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.standing.hint = hint
}

func (l *link) tellFailure(a *attempt, message string) {
	if a.err == nil {
		a.err = errNotSettled
	}
	reason := sayableError(a.err)
	news := kindOf(a.err)
	if news == l.told {
		l.log.Debug("still no session", "error", reason)
		return
	}
	l.log.Warn(message, withHint([]any{"error", reason}, hint(a.err))...)
	l.told = news
}
