package proxy

import (
	"context"
	"sync"
)

// settled knows by which policy every session and route has been judged. A policy is
// known by what its Changed returned: unlike its revision, that never comes back.
type settled struct {
	mu      sync.Mutex
	policy  <-chan struct{}
	next    chan struct{} // closed when policy is replaced, and when it never will be
	stopped bool
}

func newSettled(policy <-chan struct{}) *settled {
	return &settled{policy: policy, next: make(chan struct{})}
}

func (s *settled) by() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.policy
}

// judged says that all has been judged by policy.
func (s *settled) judged(policy <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policy = policy
	if !s.stopped {
		close(s.next)
		s.next = make(chan struct{})
	}
}

// stop says that nothing is judged any more.
func (s *settled) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		close(s.next)
	}
}

// wait returns the policy in force once all has been judged by it; false: ctx or the
// judging ended before.
func (s *settled) wait(ctx context.Context, inForce func() <-chan struct{}) (<-chan struct{}, bool) {
	for {
		s.mu.Lock()
		policy, next, stopped := s.policy, s.next, s.stopped
		s.mu.Unlock()
		if policy == inForce() {
			return policy, true
		}
		if stopped {
			return nil, false
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil, false
		}
	}
}
