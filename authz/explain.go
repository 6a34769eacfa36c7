package authz

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Input is a question to the policy: a [RegisterInput], [ScrapeInput], [AdminInput]
// or [SessionInput].
type Input interface {
	document() ast.Value
	action() action
}

func (RegisterInput) action() action { return register }
func (ScrapeInput) action() action   { return scrape }
func (AdminInput) action() action    { return admin }
func (SessionInput) action() action  { return session }

// Explanation is a decision and how it came about.
type Explanation struct {
	Decision Decision
	// Rules are those that gave a value, in the order in which they did: a rule
	// stands behind those that it asked.
	Rules []FiredRule
}

// FiredRule is a rule or function that gave a value.
type FiredRule struct {
	Name  string // as in data.sallyport.register.allow
	File  string
	Line  int
	Value string // as JSON, cut to a bearable length; sets as arrays
}

// Explain decides as the proxy would, never from the cache, and says which rules
// fired. It is for people: it costs many times what a decision does.
func (p *Policy) Explain(ctx context.Context, in Input) Explanation {
	return Explanation{Decision: p.decide(ctx, in.action(), in.document())}
}
