package authz

import "time"

// RegisterInput is what the policy sees of an agent that offers a route.
type RegisterInput struct {
	Agent AgentInput
	Route RouteClaim
	State RouteState
	Proxy ProxyInput
	// Now becomes input.now_ns. The zero value is the time of the decision.
	Now time.Time

	subject *Subject // that Agent and Proxy are of, nil: none
}

// ScrapeInput is what the policy sees of one scrape.
type ScrapeInput struct {
	Scraper ScraperInput
	Request ScrapeRequest
	Route   ScrapeRoute
	Proxy   ProxyInput
	// Now becomes input.now_ns. The zero value is the time of the decision.
	Now time.Time
}

// AdminInput is what the policy sees of a request to the admin listener.
type AdminInput struct {
	Scraper ScraperInput
	Request AdminRequest
	Proxy   ProxyInput
	// Now becomes input.now_ns. The zero value is the time of the decision.
	Now time.Time
}

// SessionInput is what the policy sees of an agent that holds a session, or asks for
// one.
type SessionInput struct {
	Agent AgentInput
	Proxy ProxyInput
	// Now becomes input.now_ns. The zero value is the time of the decision.
	Now time.Time

	subject *Subject // that Agent and Proxy are of, nil: none
}

// ProxyInput is the identity of the proxy that asks, so that a policy can say
// "our own trust domain".
type ProxyInput struct {
	ID          string
	TrustDomain string // empty for a DNS identity
}

// AgentInput is an agent as its certificate proved it. Name alone is a claim.
type AgentInput struct {
	ID          string
	Kind        string // "spiffe" or "dns"
	TrustDomain string // empty for a DNS identity
	Segments    []string
	Name        string
	Serial      string // the leaf's, lower-case hex
	SPKISHA256  string // the leaf's, lower-case hex
	NotAfter    time.Time
	RemoteIP    string
	Source      string // "spiffe" or "files"
}

// RouteClaim is the route that the agent offers. Labels and Target are its claim.
type RouteClaim struct {
	Path     string
	Segments []string
	Labels   map[string]string
	Target   TargetClaim
}

// TargetClaim is where the agent says the route leads. The proxy never dials it.
type TargetClaim struct {
	Scheme string
	Host   string
	Port   int
	Path   string
}

// RouteState is what the proxy knows when the route is offered.
type RouteState struct {
	Owner       string // the identity that holds the route, empty if none does
	AgentRoutes int    // other routes that the agent's identity holds
	TotalRoutes int    // other routes that the proxy holds
}

// ScraperInput is who scrapes, or asks the admin listener.
type ScraperInput struct {
	ID          string
	Kind        string // "spiffe", "dns", "jwt" or "anonymous"
	TrustDomain string // empty unless a SPIFFE ID
	Segments    []string
	RemoteIP    string
}

// ScrapeRequest is what the scraper asked for.
type ScrapeRequest struct {
	Query   map[string][]string
	Timeout time.Duration // as clamped by the proxy; whole milliseconds are passed on
}

// ScrapeRoute is the route that is asked for. Owner and Labels are empty where no
// such route is registered.
type ScrapeRoute struct {
	Path     string
	Segments []string
	Owner    string
	Labels   map[string]string
}

// AdminRequest is one request to the admin listener.
type AdminRequest struct {
	Method string
	Path   string
}
