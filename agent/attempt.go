package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// The time for the connection, its handshake, Hello and Welcome together.
const welcomeTimeout = shakePatience + 10*time.Second

// minRenewal is the shortest time before the end of a proxy's certificate in which
// it is worth having another session.
const minRenewal = time.Second

var (
	errStopping   = errors.New("the session is not needed any more")
	errNoWelcome  = errors.New("the proxy did not welcome the agent in time")
	errNotSettled = errors.New("the session ended before the proxy had answered for each route")
)

// attempt is a try to have a session, and the session that came of it.
type attempt struct {
	link  *link
	drain context.CancelFunc // ends the session without haste, or the try
	cut   context.CancelFunc
	noted bool      // that it is settled; the link's
	cutAt time.Time // the link's

	settled chan struct{} // closed when each route was answered once
	// These are set before settled is closed.
	certificate *tls.Certificate // our own, which the proxy was shown
	goodUntil   time.Time        // when it, or the proxy's chain, ends
	renewAt     time.Time        // when to have another session, before the proxy's chain ends; zero: never

	ended chan struct{} // closed when all is over
	// These are set before ended is closed.
	lasted time.Duration // since the welcome, 0 without one
	err    error

	standing standing // under link.mu
}

func newAttempt(l *link) *attempt {
	return &attempt{link: l, settled: make(chan struct{}), ended: make(chan struct{}), standing: standing{reason: "connecting", since: time.Now()}}
}

// settling is closed when the attempt has settled. It is nil once that is noted,
// and of no attempt.
func (a *attempt) settling() <-chan struct{} {
	if a == nil || a.noted {
		return nil
	}
	return a.settled
}

// ending is closed when the attempt has ended; nil of no attempt.
func (a *attempt) ending() <-chan struct{} {
	if a == nil {
		return nil
	}
	return a.ended
}

// say sets why the attempt is not ready.
func (a *attempt) say(reason string) {
	a.link.mu.Lock()
	defer a.link.mu.Unlock()
	if reason != a.standing.reason {
		a.standing.since = time.Now()
	}
	a.standing.reason, a.standing.hint = reason, ""
}

// run dials once and has one session, until it ends, ctx does, or stop does and it
// is drained.
func (a *attempt) run(ctx, stop context.Context) {
	defer close(a.ended)
	defer a.cut()
	defer a.drain()
	a.lasted, a.err = a.hold(ctx, stop)
}

func (a *attempt) hold(ctx, stop context.Context) (lasted time.Duration, err error) {
	agent := a.link.agent
	// The session is of this certificate, whatever comes while it is made.
	material, err := agent.identity.Material()
	if err != nil {
		return 0, a.failed(&connectFault{result: connectHandshake, reason: authn.NoMaterial, cause: err})
	}
	a.certificate = material.Certificate

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Until the welcome there is nothing to drain: the attempt is given up.
	late := time.AfterFunc(welcomeTimeout, func() { cancel(errNoWelcome) })
	defer late.Stop()
	stopping := context.AfterFunc(stop, func() { cancel(errStopping) })
	defer stopping()

	conn, err := agent.newConnection(a.link.addr, material)
	if err != nil {
		return 0, err
	}
	defer conn.close()
	stream, welcome, err := conn.greet(ctx, agent.hello())
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if stop.Err() != nil {
			return 0, err
		}
		return 0, a.failed(conn.judge(err))
	}
	if !late.Stop() {
		return 0, errNoWelcome
	}
	if !stopping() {
		return 0, errStopping
	}
	agent.metrics.connects.WithLabelValues(connectWelcomed).Inc()
	welcomed := time.Now()
	err = a.welcomed(conn, stream, welcome).run(ctx, stop, func() { cancel(nil) })
	agent.metrics.sessionEnded(a.link.addr, err)
	return max(time.Since(welcomed), 1), err
}

func (a *attempt) failed(fault *connectFault) error {
	a.link.agent.metrics.connects.WithLabelValues(fault.result).Inc()
	return fault
}

func (a *attempt) welcomed(conn *connection, stream tunnelv1.Tunnel_ControlClient, welcome *tunnelv1.Welcome) *session {
	log := a.link.log.With("session", sayable(welcome.GetSessionId(), 64))
	log.Info("session established", "software", sayable(welcome.GetSoftware(), 64), "max_routes", welcome.GetMaxRoutes())
	a.say("waiting for the proxy's answer to the routes")
	a.link.agent.metrics.sessionBegan(a.link.addr)
	s := newSession(a, conn, stream, log)
	a.introduce(s, welcome)
	return s
}

// introduce has the session told of.
func (a *attempt) introduce(s *session, welcome *tunnelv1.Welcome) {
	a.link.mu.Lock()
	defer a.link.mu.Unlock()
	told := &a.standing
	told.session, told.connected = s, time.Now()
	told.id, told.notAfter = s.proxy.peer.Identity.String(), s.proxy.peer.NotAfter
	told.name, told.software = sayable(welcome.GetSessionId(), 64), sayable(welcome.GetSoftware(), 64)
}

// settle tells that each route was answered, by a proxy whose chain ends then.
func (a *attempt) settle(now, proxyNotAfter time.Time) {
	a.say("")
	a.goodUntil = a.certificate.Leaf.NotAfter
	if proxyNotAfter.Before(a.goodUntil) {
		a.goodUntil = proxyNotAfter
	}
	// A proxy renews its certificate without a word, and keeps its sessions. By a
	// session of today we would have to leave it when the old certificate ends,
	// scrapes under way or not. A new one shows us the new certificate, if there
	// is one. Some while before the end, for all agents know that same end.
	if left := proxyNotAfter.Sub(now); left > minRenewal {
		a.renewAt = now.Add(left*6/10 + rand.N(left/10))
	}
	close(a.settled)
}
