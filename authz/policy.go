package authz

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"time"
)

const (
	defaultTimeout = 100 * time.Millisecond
	// maxWait bounds the wait for a slot. It covers the rush of every agent after a
	// restart, in which a denial for want of a moment would cost a route.
	maxWait = 5 * time.Second
)

// Options bound the evaluation of a policy. The zero value has the defaults.
type Options struct {
	// Timeout ends an evaluation. Default 100 ms.
	Timeout time.Duration
	// MaxConcurrent evaluations run at once; others wait for as long as their
	// context lasts, at most 5 s. Default: twice GOMAXPROCS.
	MaxConcurrent int
	// CacheEntries is how many decisions on scrapes are kept at most, at 1 KiB each on
	// average; they go with the policy. Default 65,536, below 0 none. A number below
	// 2 keeps 2.
	CacheEntries int
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxConcurrent <= 0 {
		o.MaxConcurrent = 2 * runtime.GOMAXPROCS(0)
	}
	if o.CacheEntries == 0 {
		o.CacheEntries = defaultCacheEntries
	}
	return o
}

// Policy is a compiled folder of Rego and data. It is immutable and safe for
// concurrent use. A nil Policy denies.
type Policy struct {
	revision  string
	timeout   time.Duration
	slots     chan struct{}
	questions map[action]*question
	// What a decision on a scrape can depend on, and one on an offer beside its agent.
	reads, offerReads fields
	cache             *cache // nil where decisions on scrapes are not kept
	steady            steadyRules
}

// Revision names the policy's content: the same files have the same revision.
func (p *Policy) Revision() string {
	if p == nil {
		return ""
	}
	return p.revision
}

// Register decides whether an agent may register a route.
func (p *Policy) Register(ctx context.Context, in RegisterInput) Decision {
	if p == nil {
		return p.decide(ctx, register, asked{})
	}
	return p.decide(ctx, register, asked{input: in.part(p.offerReads), subject: in.subject})
}

// Scrape decides whether a scraper may scrape a route. Where the answer cannot depend
// on the time, it is kept: another scrape that differs only in what the policy does
// not read has the same decision, with the same ID. A decision with a fault is not
// kept.
func (p *Policy) Scrape(ctx context.Context, in ScrapeInput) Decision {
	if p == nil || p.cache == nil {
		return p.decide(ctx, scrape, asked{input: in.document()})
	}
	var room [512]byte
	key := in.appendKey(room[:0], p.cache.by)
	if d, ok := p.cache.get(key); ok {
		return d
	}
	d := p.decide(ctx, scrape, asked{input: in.document()})
	if d.Fault == nil {
		p.cache.put(key, d)
	}
	return d
}

// ScrapeReads says what of its input a decision on a scrape can depend on, as in
// "route.path", and whether such decisions are kept.
func (p *Policy) ScrapeReads() (names []string, cached bool) {
	if p == nil {
		return nil, false
	}
	return p.reads.names(), p.cache != nil
}

// Admin decides whether a request to the admin listener is served.
func (p *Policy) Admin(ctx context.Context, in AdminInput) Decision {
	return p.decide(ctx, admin, asked{input: in.document()})
}

// Session decides whether an agent may hold a session at all. A policy without the
// package sallyport.session lets every agent whose identity is proved: each route is
// decided anyway.
func (p *Policy) Session(ctx context.Context, in SessionInput) Decision {
	return p.decide(ctx, session, asked{input: in.document(), subject: in.subject})
}

func (p *Policy) decide(ctx context.Context, a action, asked asked) Decision {
	d := Decision{ID: rand.Text(), Revision: p.Revision()}
	answer, err := p.answer(ctx, a, asked)
	if err != nil {
		d.Fault, d.Reasons = fmt.Errorf("deciding %s: %w", a, err), answer.reasons
		return d
	}
	d.AnyState = a == register && p.offerReads&fieldState == 0
	d.Allow, d.Reasons, d.Limits, d.Labels = answer.allow, answer.reasons, answer.limits, answer.labels
	return d
}

func (p *Policy) answer(ctx context.Context, a action, asked asked) (answer, error) {
	if p == nil {
		return answer{}, errors.New("no policy")
	}
	q := p.questions[a]
	switch {
	case q == nil && a == session:
		// The package is optional, and [source.compile] made sure that it is absent.
		return answer{allow: true}, nil
	case q == nil:
		return answer{}, ErrUndefined
	}
	if err := p.acquire(ctx); err != nil {
		return answer{}, err
	}
	defer func() { <-p.slots }()
	if asked.subject != nil {
		asked.recall = newRecall(p, asked.subject)
	}
	return q.ask(ctx, asked, p.timeout)
}

func (p *Policy) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("waiting to evaluate: %w", err)
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting to evaluate: %w", ctx.Err())
	case <-timer.C:
		return fmt.Errorf("waiting to evaluate: no turn within %s", maxWait)
	}
}
