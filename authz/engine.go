package authz

import (
	"context"
	"sync/atomic"
)

// Engine holds the policy in force. It is safe for concurrent use. The zero Engine
// has no policy, and denies.
type Engine struct {
	held atomic.Pointer[held]
}

// held is a policy together with the word that it was replaced, so that nobody can
// see one of them new and the other old.
type held struct {
	policy   *Policy
	replaced chan struct{}
}

// NewEngine puts p in force.
func NewEngine(p *Policy) *Engine {
	e := new(Engine)
	e.Replace(p)
	return e
}

// Replace puts p in force in one step: a decision is wholly of the old policy or
// wholly of p, as its Revision says. Then it closes Changed.
func (e *Engine) Replace(p *Policy) {
	old := e.held.Swap(&held{policy: p, replaced: make(chan struct{})})
	if old != nil {
		close(old.replaced)
	}
}

// Changed is closed when the policy in force is replaced. Ask first and look at the
// policy then: what is replaced between the two shows in the channel.
func (e *Engine) Changed() <-chan struct{} { return e.current().replaced }

// Policy is the one in force, nil if there is none.
func (e *Engine) Policy() *Policy { return e.current().policy }

// Revision names the content of the policy in force.
func (e *Engine) Revision() string { return e.Policy().Revision() }

func (e *Engine) current() *held {
	if now := e.held.Load(); now != nil {
		return now
	}
	// The zero Engine: only one of those who come first gives it its channel.
	e.held.CompareAndSwap(nil, &held{replaced: make(chan struct{})})
	return e.held.Load()
}

// Register decides with the policy in force. See [Policy.Register].
func (e *Engine) Register(ctx context.Context, in RegisterInput) Decision {
	return e.Policy().Register(ctx, in)
}

// Scrape decides with the policy in force. See [Policy.Scrape].
func (e *Engine) Scrape(ctx context.Context, in ScrapeInput) Decision {
	return e.Policy().Scrape(ctx, in)
}

// Admin decides with the policy in force. See [Policy.Admin].
func (e *Engine) Admin(ctx context.Context, in AdminInput) Decision {
	return e.Policy().Admin(ctx, in)
}

// Session decides with the policy in force. See [Policy.Session].
func (e *Engine) Session(ctx context.Context, in SessionInput) Decision {
	return e.Policy().Session(ctx, in)
}
