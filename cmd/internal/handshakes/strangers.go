package handshakes

import (
	"container/list"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/dashboard"
)

// maxStrangers is how many kinds of failed handshakes are remembered for people. Who
// fails has proved nothing, and may come from anywhere.
const maxStrangers = 64

// strangers remembers handshakes that failed lately, those of one address for one reason
// as one.
type strangers struct {
	mu    sync.Mutex
	byKey map[strangerKey]*list.Element
	order list.List // of *stranger, the latest first
}

// stranger is one kind, and when it was last told of in the log.
type stranger struct {
	dashboard.Stranger
	told      time.Time
	tellCount int // what Count was then
}

// tellPause is how long the log is silent about one kind: who cannot connect tries again
// every few seconds.
const tellPause = time.Minute

// maxPerAddress is how many kinds one address has, for each of which a certificate may
// claim another name: those beyond share one.
const maxPerAddress = 8

type strangerKey struct{ listener, remote, reason, claim string }

func (x *stranger) key() strangerKey {
	return strangerKey{x.Listener, x.RemoteIP, x.Reason, x.Claims}
}

func newStrangers() *strangers {
	return &strangers{byKey: make(map[strangerKey]*list.Element)}
}

// note remembers a failure. Peers of one address, as those behind one router, are told
// apart by what they claim to be.
func (s *strangers) note(listener string, remote net.Addr, reason authn.Reason, err error) *stranger {
	host, _, splitErr := net.SplitHostPort(remote.String())
	if splitErr != nil {
		host = remote.String()
	}
	now := time.Now().UTC()
	fresh := &stranger{Stranger: dashboard.Stranger{Listener: listener, RemoteIP: host, Reason: string(reason), Hint: hint(listener, reason), First: now}}
	var failed *authn.Error
	if errors.As(err, &failed) && failed.Claim != "" {
		fresh.Claims, fresh.ClaimEnds = failed.Claim, &failed.ClaimEnds
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey[fresh.key()] == nil && s.ofLocked(host) >= maxPerAddress {
		fresh.Claims, fresh.ClaimEnds = "", nil
	}
	e, ok := s.byKey[fresh.key()]
	if !ok {
		if s.order.Len() >= maxStrangers {
			delete(s.byKey, s.order.Remove(s.order.Back()).(*stranger).key())
		}
		e = s.order.PushFront(fresh)
		s.byKey[fresh.key()] = e
	}
	s.order.MoveToFront(e)
	known := e.Value.(*stranger)
	known.Last, known.Error, known.ClaimEnds = now, err.Error(), fresh.ClaimEnds
	known.Count++
	return known
}

// ofLocked is how many kinds there are of an address.
func (s *strangers) ofLocked(host string) (n int) {
	for e := s.order.Front(); e != nil; e = e.Next() {
		if e.Value.(*stranger).RemoteIP == host {
			n++
		}
	}
	return n
}

// due says whether a kind is news for the log: none of it was told of for a while.
func (s *strangers) due(x *stranger) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(x.told) >= tellPause
}

// tell remembers that a kind is told of now, and returns how many were not since the last
// time.
func (s *strangers) tell(x *stranger) (untold int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	untold = x.Count - x.tellCount - 1
	x.told, x.tellCount = time.Now(), x.Count
	return untold
}

// Strangers are those that are remembered, the latest first.
func (h *Book) Strangers() []dashboard.Stranger { return h.strangers.all() }

func (s *strangers) all() []dashboard.Stranger {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]dashboard.Stranger, 0, s.order.Len())
	for e := s.order.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*stranger).Stranger)
	}
	return all
}
