package authn

import (
	"net"
	"sync/atomic"
	"time"
)

const (
	// shakePatience is how long a peer may be silent before another can take its
	// place. Strangers who say nothing so hold up others only where more than a
	// thousand of them come in a second.
	shakePatience = time.Second
	// shakeMoment is how often a listener that is full looks for room.
	shakeMoment = 5 * time.Millisecond
)

// turns let one handshake for each core compute, and the others wait. A thousand that
// compute at once end no sooner, and whatever else there is to do waits behind each.
type turns chan struct{}

func newTurns(cores int) turns { return make(turns, cores) }

// shaking is a connection's state while its handshake is under way. The handshake has a
// turn but while it waits for its peer, who may never answer.
type shaking struct {
	turns turns
	since atomic.Int64 // when it began to wait for its peer, in ns; 0: it does not
}

// overdue is for how much longer it has waited for its peer than that may take.
func (s *shaking) overdue(now time.Time) time.Duration {
	since := s.since.Load()
	if since == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, since)) - shakePatience
}

// begin takes the first turn, end gives the last one back.
func (s *shaking) begin() { s.turns <- struct{}{} }
func (s *shaking) end()   { <-s.turns }

// read reads between two turns.
func (s *shaking) read(conn net.Conn, p []byte) (int, error) {
	s.end()
	s.since.Store(time.Now().UnixNano())
	n, err := conn.Read(p)
	s.since.Store(0)
	s.begin()
	return n, err
}

// write writes between two turns: a peer that reads nothing could keep one.
func (s *shaking) write(conn net.Conn, p []byte) (int, error) {
	s.end()
	n, err := conn.Write(p)
	s.begin()
	return n, err
}
