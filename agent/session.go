package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

const (
	// How long the proxy may take to close the connection after its last word.
	goodbyeTimeout = 15 * time.Second
	// How long the proxy may take to end the control stream once we have.
	closeTimeout = time.Second
)

var (
	errNoAnswer  = errors.New("the proxy did not answer a registration in time")
	errNotClosed = errors.New("the proxy did not close the connection after its goodbye")
)

// session is one welcomed connection. A single goroutine, run's, owns all of its
// state; beside it are one that receives, one that sends, and those of the lanes.
type session struct {
	attempt *attempt
	stream  tunnelv1.Tunnel_ControlClient
	log     *slog.Logger

	in       chan *tunnelv1.ProxyMessage
	inErr    chan error
	asked    chan chan<- map[string]AnswerInfo // by who wants to know how the routes are
	out      chan *tunnelv1.AgentMessage       // closed to end the stream on our side
	outgoing *tunnelv1.AgentMessage            // the next for out

	proxy    *proven
	snapshot *snapshot
	routes   *routeBook
	lanes    *laneSet

	settled  bool      // each route was answered once
	leaving  bool      // the proxy drains or said goodbye: begin nothing new
	goodbye  *goodbye  // the proxy's last word
	partBy   time.Time // when to cut a connection that its end should have closed
	draining bool      // we drain: begin nothing new, tell the proxy
	drained  bool      // the proxy is told
	hungUp   bool      // our side of the stream is ended
}

func newSession(a *attempt, conn *connection, stream tunnelv1.Tunnel_ControlClient, log *slog.Logger) *session {
	agent := a.link.agent
	return &session{
		attempt: a,
		stream:  stream,
		log:     log,
		in:      make(chan *tunnelv1.ProxyMessage),
		inErr:   make(chan error, 1),
		out:     make(chan *tunnelv1.AgentMessage),
		asked:   make(chan chan<- map[string]AnswerInfo),
		proxy:   newProven(agent.identity, conn.peer()),
		routes:  newRouteBook(log, agent.metrics),
		lanes:   newLaneSet(conn.client, agent.scraper, agent.cfg.MaxConcurrentScrapes, log, agent.metrics),
	}
}

// run has the session until it ends, or until stop has ended and it is drained.
// It returns nil only in the latter case. end ends ctx, which is the context of
// the control stream.
func (s *session) run(ctx, stop context.Context, end func()) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.routes.forget()
	defer s.lanes.wait()
	defer end()
	wg.Go(func() { s.receive(ctx) })
	wg.Go(func() { s.send(ctx) })

	s.want(s.attempt.link.agent.table.load())
	stopped := stop.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		if err := s.advance(ctx, now); err != nil {
			return err
		}
		if s.hungUp && s.partBy.Before(now) {
			return nil
		}
		timer.Reset(s.pause(now))
		// A nil message must not be sent: then there is no channel for it.
		out := s.out
		if s.outgoing == nil {
			out = nil
		}
		select {
		case msg := <-s.in:
			if err := s.handle(msg); err != nil {
				return err
			}
		case err := <-s.inErr:
			return s.ended(err)
		case <-s.proxy.changed:
			if err := s.proxy.judge(); err != nil {
				return err
			}
		case out <- s.outgoing:
			s.sent()
		case <-s.snapshot.replaced:
			s.want(s.attempt.link.agent.table.load())
		case reply := <-s.asked:
			reply <- s.routes.answers()
		case end := <-s.lanes.ended:
			s.lanes.gone(end, time.Now())
		case <-stopped:
			stopped = nil
			s.draining = true
			s.attempt.say("the agent is draining")
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *session) receive(ctx context.Context) {
	for {
		msg, err := s.stream.Recv()
		if err != nil {
			s.inErr <- err
			return
		}
		select {
		case s.in <- msg:
		case <-ctx.Done():
			return
		}
	}
}

// send keeps run from ever waiting for a proxy that does not read.
func (s *session) send(ctx context.Context) {
	for {
		select {
		case msg, ok := <-s.out:
			if !ok {
				_ = s.stream.CloseSend()
				return
			}
			if s.stream.Send(msg) != nil {
				return // the receiver has the cause
			}
		case <-ctx.Done():
			return
		}
	}
}

// serving says whether there may be new routes and lanes.
func (s *session) serving() bool { return !s.leaving && !s.draining }

// want makes the routes follow the table.
func (s *session) want(snap *snapshot) {
	s.snapshot = snap
	s.routes.want(snap.endpoints)
}

// advance does what time and state ask for: the next message, new lanes, the
// steps of a drain.
func (s *session) advance(ctx context.Context, now time.Time) error {
	switch {
	case s.serving() && s.routes.overdue(now):
		return errNoAnswer
	case s.goodbye != nil && s.partBy.Before(now):
		return errors.Join(s.goodbye, errNotClosed)
	case !now.Before(s.proxy.peer.NotAfter):
		if err := s.proxy.judge(); err != nil {
			return err
		}
	}
	if s.outgoing == nil {
		s.outgoing = s.next(now)
	}
	if s.serving() {
		s.lanes.reconcile(ctx, now)
	}
	if s.drained && !s.hungUp && s.outgoing == nil && s.lanes.open == 0 {
		s.hungUp = true
		s.partBy = now.Add(closeTimeout)
		close(s.out)
	}
	if s.serving() && !s.settled && s.routes.settled() {
		s.settled = true
		s.attempt.settle(now, s.proxy.peer.NotAfter)
	}
	return nil
}

// next is the next message to the proxy, nil if there is nothing to say.
func (s *session) next(now time.Time) *tunnelv1.AgentMessage {
	switch {
	case s.drained || s.goodbye != nil:
		return nil
	case s.draining:
		return &tunnelv1.AgentMessage{Kind: &tunnelv1.AgentMessage_Drain{Drain: &tunnelv1.Drain{}}}
	case s.leaving:
		return nil
	}
	return s.routes.next(now)
}

// sent notes that outgoing is on its way.
func (s *session) sent() {
	if s.outgoing.GetDrain() != nil {
		s.drained = true
		s.lanes.drain()
	}
	s.outgoing = nil
}

// pause is how long nothing will happen by itself.
func (s *session) pause(now time.Time) time.Duration {
	dues := [...]time.Time{s.proxy.peer.NotAfter, s.partBy, {}, {}, {}}
	if s.serving() {
		dues[2], dues[3] = s.routes.overdueAt(), s.lanes.due()
		if s.outgoing == nil {
			dues[4] = s.routes.dueAgain
		}
	}
	pause := longPause
	for _, due := range dues {
		if !due.IsZero() {
			pause = min(pause, due.Sub(now))
		}
	}
	return max(pause, time.Millisecond)
}

// handle takes one message. Unknown kinds are of a newer proxy and mean nothing
// here.
func (s *session) handle(msg *tunnelv1.ProxyMessage) error {
	switch kind := msg.GetKind().(type) {
	case *tunnelv1.ProxyMessage_Welcome:
		return protocolFault("a second welcome")
	case *tunnelv1.ProxyMessage_Registered:
		return s.routes.answered(kind.Registered.GetAnswers(), time.Now())
	case *tunnelv1.ProxyMessage_Revoke:
		s.routes.revoked(kind.Revoke.GetRoutes(), time.Now())
	case *tunnelv1.ProxyMessage_PolicyChanged:
		s.routes.policyChanged(time.Now())
	case *tunnelv1.ProxyMessage_LanesWanted:
		s.lanes.want(kind.LanesWanted.GetTotal())
	case *tunnelv1.ProxyMessage_Drain:
		if !s.leaving {
			s.log.Info("the proxy is going away, finishing scrapes")
		}
		s.leave("the proxy is draining")
	case *tunnelv1.ProxyMessage_Goodbye:
		s.goodbye = newGoodbye(kind.Goodbye)
		s.partBy = time.Now().Add(goodbyeTimeout)
		s.leave(s.goodbye.Error())
	}
	return nil
}

func (s *session) leave(reason string) {
	s.leaving = true
	if !s.draining {
		s.attempt.say(reason)
	}
}

// ended is what run returns when the control stream has ended by err.
func (s *session) ended(err error) error {
	switch {
	case s.drained:
		return nil
	case s.goodbye != nil:
		return s.goodbye
	case errors.Is(err, io.EOF):
		return errors.New("the proxy ended the session")
	}
	return err
}
