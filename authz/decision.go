package authz

import "time"

// Decision is what the policy answered. The zero Decision denies.
type Decision struct {
	// ID names the decision in logs and towards the peer. It cannot be guessed.
	ID    string
	Allow bool
	// Reasons say why not: sorted, at most 16, each one printable line of at most
	// 200 bytes. They may be shown to an agent, never to a scraper.
	Reasons []string
	// Limits only tighten what the proxy is configured with.
	Limits Limits
	// Labels are put on the route. Only a register decision has any.
	Labels map[string]string
	// Fault is why the policy gave no valid answer, nil where it gave one. It is
	// for logs and never shown to a peer. A decision with a fault never allows.
	Fault error
	// AnyState says of a register decision without a fault that it is the same whatever
	// the RouteState: the policy does not read it.
	AnyState bool
	// Revision names the content of the policy that decided.
	Revision string
}

// Limits are the bounds that a policy sets. Zero means that it sets none; a policy
// cannot set a bound of zero.
type Limits struct {
	MaxBodyBytes int64
	MaxInflight  int64
	MaxTimeout   time.Duration
	MaxRoutes    int64
}
