package proxy

import (
	"sync/atomic"
	"time"
)

// noticePause is how long a notice that peers can cause at will is not repeated.
const noticePause = 10 * time.Second

// seldom tells when something may be logged again that peers can cause at will.
type seldom struct{ last atomic.Pointer[time.Time] }

// now is true at most once per noticePause.
func (s *seldom) now() bool {
	now := time.Now()
	last := s.last.Load()
	return (last == nil || now.Sub(*last) >= noticePause) && s.last.CompareAndSwap(last, &now)
}
