package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

const (
	redialBase   = 250 * time.Millisecond
	redialFactor = 1.6
	redialMost   = 5 * time.Second
	// A session that lasted this long was a good one: the next attempt does not
	// wait for the failures before it.
	goodSession = 5 * time.Second
	// The time for the connection, its handshake, Hello and Welcome together.
	welcomeTimeout = 15 * time.Second
)

var (
	errStopping  = errors.New("the agent is stopping")
	errNoWelcome = errors.New("the proxy did not welcome the agent in time")
)

// link keeps one proxy address connected: one session after the other, each on a
// connection of its own.
type link struct {
	addr  string
	agent *Agent
	log   *slog.Logger

	mu     sync.Mutex
	reason string // why the link is not ready; "" when it is
}

func newLink(a *Agent, addr string) *link {
	return &link{addr: addr, agent: a, log: a.log.With("proxy", addr), reason: "not yet connected"}
}

func (l *link) setReason(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reason = reason
}

// missing says why the link is not ready, "" when it is.
func (l *link) missing() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

// keep has sessions until stop ends, and the last one drained. ctx ends later: it
// cuts off what has not drained by then.
func (l *link) keep(ctx, stop context.Context) {
	wait := backoff{base: redialBase, most: redialMost, factor: redialFactor}
	told := ""
	for stop.Err() == nil {
		lasted, err := l.attempt(ctx, stop)
		if stop.Err() != nil {
			if lasted > 0 && err != nil {
				l.log.Warn("session ended before it was drained", "error", sayableError(err))
			}
			return
		}
		told = l.tell(lasted > 0, err, told)
		if lasted >= goodSession {
			wait.reset()
		}
		select {
		case <-stop.Done():
		case <-time.After(wait.next()):
		}
	}
}

// tell logs how an attempt ended if that is news: the end of a session always,
// a failure to begin one when it differs from what was told before.
func (l *link) tell(welcomed bool, err error, told string) string {
	reason := "connection ended"
	if err != nil {
		reason = sayableError(err)
	}
	l.setReason(reason)
	if welcomed {
		l.log.Warn("session ended, connecting again", "error", reason)
		return ""
	}
	news := kindOf(err)
	if news == told {
		l.log.Debug("still no session", "error", reason)
		return told
	}
	attrs := []any{"error", reason}
	if hint := hint(err); hint != "" {
		attrs = append(attrs, "hint", hint)
	}
	l.log.Warn("no session, trying again until there is one", attrs...)
	return news
}

// attempt dials once and has one session. lasted is the time since the welcome,
// 0 without one.
func (l *link) attempt(ctx, stop context.Context) (lasted time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Until the welcome there is nothing to drain: the attempt is given up.
	late := time.AfterFunc(welcomeTimeout, func() { cancel(errNoWelcome) })
	defer late.Stop()
	stopping := context.AfterFunc(stop, func() { cancel(errStopping) })
	defer stopping()

	conn, err := l.agent.newConnection(l.addr)
	if err != nil {
		return 0, err
	}
	defer conn.close()
	stream, welcome, err := conn.greet(ctx, l.agent.hello())
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if stop.Err() != nil {
			return 0, err
		}
		fault := conn.judge(err)
		l.agent.metrics.connects.WithLabelValues(fault.result).Inc()
		return 0, fault
	}
	if !late.Stop() {
		return 0, errNoWelcome
	}
	if !stopping() {
		return 0, errStopping
	}
	l.agent.metrics.connects.WithLabelValues(connectWelcomed).Inc()
	welcomed := time.Now()
	s := l.begin(conn, stream, welcome)
	err = s.run(ctx, stop, func() { cancel(nil) })
	l.agent.metrics.sessions.Dec()
	return max(time.Since(welcomed), 1), err
}

func (l *link) begin(conn *connection, stream tunnelv1.Tunnel_ControlClient, welcome *tunnelv1.Welcome) *session {
	log := l.log.With("session", sayable(welcome.GetSessionId(), 64))
	log.Info("session established", "software", sayable(welcome.GetSoftware(), 64), "max_routes", welcome.GetMaxRoutes())
	l.setReason("waiting for the proxy's answer to the routes")
	l.agent.metrics.sessions.Inc()
	return newSession(l, conn.client, stream, log)
}
