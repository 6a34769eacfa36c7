package authn

import (
	"net"
	"sync/atomic"
	"time"
)

const (
	// shakePatience is how long a peer may be waited for before another can take its
	// place. Strangers who say nothing, or little, so hold up others only where hundreds
	// of them come in a second. Less would drop the agents of a fleet that comes back at
	// once, of which each has to wait for its own machine, too.
	shakePatience = 3 * time.Second
	// shakeMoment is how often a listener that is full looks for room.
	shakeMoment = 5 * time.Millisecond
)

// turns let one handshake for each core compute, and the others wait. A thousand that
// compute at once end no sooner, and whatever else there is to do waits behind each.
type turns chan struct{}

func newTurns(cores int) turns { return make(turns, cores) }

// shaking is a connection's state while its handshake is under way. The handshake has a
// turn but while it waits for its peer, who may never answer. Only that is the peer's
// time: what it waits for a turn is ours.
type shaking struct {
	turns turns
	left  time.Duration // for which it may still wait for its peer

	since  atomic.Int64 // when it began to wait, in ns; 0: it does not
	waited atomic.Int64 // before that, in ns
}

// overdue is for how much longer it has waited for its peer, all in all, than that may
// take. A peer that sends a byte now and then is as silent as one that sends none.
func (s *shaking) overdue(now time.Time) time.Duration {
	waited := time.Duration(s.waited.Load())
	if since := s.since.Load(); since != 0 {
		waited += now.Sub(time.Unix(0, since))
	}
	return waited - shakePatience
}

// begin takes the first turn, end gives the last one back.
func (s *shaking) begin() { s.turns <- struct{}{} }
func (s *shaking) end()   { <-s.turns }

// read reads between two turns.
func (s *shaking) read(conn net.Conn, p []byte) (n int, err error) {
	s.await(func(deadline time.Time) {
		if err = conn.SetReadDeadline(deadline); err == nil {
			n, err = conn.Read(p)
		}
	})
	return n, err
}

// write writes between two turns: a peer that reads nothing could keep one.
func (s *shaking) write(conn net.Conn, p []byte) (n int, err error) {
	s.await(func(deadline time.Time) {
		if err = conn.SetWriteDeadline(deadline); err == nil {
			n, err = conn.Write(p)
		}
	})
	return n, err
}

func (s *shaking) await(peer func(deadline time.Time)) {
	s.end()
	defer s.begin()
	began := time.Now()
	s.since.Store(began.UnixNano())
	peer(began.Add(s.left))
	took := time.Since(began)
	s.left -= took
	s.waited.Add(int64(took))
	s.since.Store(0)
}
