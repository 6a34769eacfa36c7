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
	told   time.Time
	untold int
}

// tellPause is how long the log is silent about one kind: who cannot connect tries again
// every few seconds.
const tellPause = time.Minute

type strangerKey struct{ listener, remote, reason string }

func newStrangers() *strangers {
	return &strangers{byKey: make(map[strangerKey]*list.Element)}
}

// note remembers a failure. It is news for the log where none of its kind was for a while,
// and then there were so many in between.
func (s *strangers) note(listener string, remote net.Addr, reason authn.Reason, err error) (news bool, repeats int) {
	host, _, splitErr := net.SplitHostPort(remote.String())
	if splitErr != nil {
		host = remote.String()
	}
	key := strangerKey{listener, host, string(reason)}
	now := time.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.byKey[key]
	if !ok {
		if s.order.Len() >= maxStrangers {
			oldest := s.order.Remove(s.order.Back()).(*stranger)
			delete(s.byKey, strangerKey{oldest.Listener, oldest.RemoteIP, oldest.Reason})
		}
		e = s.order.PushFront(&stranger{Stranger: dashboard.Stranger{
			Listener: listener, RemoteIP: host, Reason: string(reason), Hint: hints[reason], First: now,
		}})
		s.byKey[key] = e
	}
	s.order.MoveToFront(e)
	known := e.Value.(*stranger)
	known.Last, known.Error = now, err.Error()
	known.Count++
	var failed *authn.Error
	if errors.As(err, &failed) && failed.Claim != "" {
		known.Claims, known.ClaimEnds = failed.Claim, &failed.ClaimEnds
	}
	if now.Sub(known.told) < tellPause {
		known.untold++
		return false, 0
	}
	repeats, known.told, known.untold = known.untold, now, 0
	return true, repeats
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
