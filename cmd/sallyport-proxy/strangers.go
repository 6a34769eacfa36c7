package main

import (
	"container/list"
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
	order list.List // of *dashboard.Stranger, the latest first
}

type strangerKey struct{ listener, remote, reason string }

func newStrangers() *strangers {
	return &strangers{byKey: make(map[strangerKey]*list.Element)}
}

func (s *strangers) note(listener string, remote net.Addr, reason authn.Reason, err error) {
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
			oldest := s.order.Remove(s.order.Back()).(*dashboard.Stranger)
			delete(s.byKey, strangerKey{oldest.Listener, oldest.RemoteIP, oldest.Reason})
		}
		e = s.order.PushFront(&dashboard.Stranger{Listener: listener, RemoteIP: host, Reason: string(reason), First: now})
		s.byKey[key] = e
	}
	s.order.MoveToFront(e)
	stranger := e.Value.(*dashboard.Stranger)
	stranger.Last, stranger.Error = now, err.Error()
	stranger.Count++
}

// all are those that are remembered, the latest first.
func (s *strangers) all() []dashboard.Stranger {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]dashboard.Stranger, 0, s.order.Len())
	for e := s.order.Front(); e != nil; e = e.Next() {
		all = append(all, *e.Value.(*dashboard.Stranger))
	}
	return all
}
