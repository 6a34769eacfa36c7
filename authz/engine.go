package authz

import (
	"context"
	"sync/atomic"
)

// Engine holds the policy in force. It is safe for concurrent use. The zero Engine
// has no policy, and denies.
type Engine struct {
	policy atomic.Pointer[Policy]
}

// NewEngine puts p in force.
func NewEngine(p *Policy) *Engine {
	e := new(Engine)
	e.policy.Store(p)
	return e
}

// Policy is the one in force, nil if there is none.
func (e *Engine) Policy() *Policy { return e.policy.Load() }

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
