package proxy

import (
	"time"

	"github.com/seed-951114d4/sallyport/authz"
)

// SessionInfo describes a session to an operator.
type SessionInfo struct {
	ID       string    `json:"id"`
	Agent    AgentInfo `json:"agent"`
	Since    time.Time `json:"since"`
	Routes   int       `json:"routes"`
	Idle     int       `json:"lanes_idle"`
	Lent     int       `json:"lanes_lent"`
	Draining bool      `json:"draining"`
	// NotBefore is when the agent's certificate began.
	NotBefore time.Time `json:"not_before"`
	Group     string    `json:"tls_group"` // the key exchange of its connection
	Suite     string    `json:"tls_suite"`
}

// AgentInfo is an agent as policies see it: input.agent.
type AgentInfo struct {
	ID          string    `json:"id"`
	Kind        string    `json:"kind"`
	TrustDomain string    `json:"trust_domain"`
	Name        string    `json:"name"` // its own claim
	Serial      string    `json:"serial"`
	SPKISHA256  string    `json:"spki_sha256"`
	NotAfter    time.Time `json:"not_after"`
	RemoteIP    string    `json:"remote_ip"`
	Source      string    `json:"source"`
}

// RouteInfo describes what one session holds of a route: all that a policy is
// asked about it, and what it obliged it to. A route whose agent is gone has no
// agent and no session.
type RouteInfo struct {
	Path      string     `json:"path"`
	Owner     string     `json:"owner"`
	State     string     `json:"state"`           // "served" or "gone"
	Since     *time.Time `json:"since,omitempty"` // when the session registered it
	GoneSince *time.Time `json:"gone_since,omitempty"`
	// GoneReason is why the last session that held it ended, as the log has it.
	GoneReason string            `json:"gone_reason,omitempty"`
	Session    string            `json:"session,omitempty"`
	Agent      *AgentInfo        `json:"agent,omitempty"`
	Claimed    map[string]string `json:"claimed_labels,omitempty"`
	Target     *TargetInfo       `json:"claimed_target,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Limits     *LimitsInfo       `json:"limits,omitempty"`
	Decision   string            `json:"decision,omitempty"`
	InFlight   int64             `json:"in_flight"`
	// Last is the outcome of the last scrape that tells of the route: not of its scraper,
	// nor of the proxy.
	Last    Outcome      `json:"last_outcome,omitempty"`
	Failure *FailureInfo `json:"last_failure,omitempty"`
	Name    string       `json:"agent_name,omitempty"` // of a route that is gone: what its agent called itself

	// Recent are the last scrapes, the latest first: /api/v1/scrapes has them.
	Recent []ScrapeInfo `json:"-"`
}

// ScrapeInfo describes a scrape of a route that is over.
type ScrapeInfo struct {
	Route    string    `json:"route"`
	At       time.Time `json:"at"` // of its end
	Duration float64   `json:"duration_seconds"`
	Bytes    int64     `json:"bytes"` // of the body, as it crossed the tunnel
	Outcome  Outcome   `json:"outcome"`
}

// FailureInfo describes the last scrape of a route that failed.
type FailureInfo struct {
	At      time.Time `json:"at"`
	Outcome Outcome   `json:"outcome"`
	Text    string    `json:"text"`
	Scraper string    `json:"scraper"` // the identity, "" of an anonymous one
}

// TargetInfo is where an agent says its route leads.
type TargetInfo struct {
	Scheme string `json:"scheme"`
	Host   string `json:"host"`
	Port   int    `json:"port"`
	Path   string `json:"path"`
}

// LimitsInfo is what the policy limits, 0 where it does not.
type LimitsInfo struct {
	MaxBodyBytes int64 `json:"max_body_bytes,omitempty"`
	MaxInflight  int64 `json:"max_inflight,omitempty"`
	MaxTimeoutMS int64 `json:"max_timeout_ms,omitempty"`
	MaxRoutes    int64 `json:"max_routes,omitempty"`
}

func (r *route) info(state string) RouteInfo {
	info := RouteInfo{Path: r.path, Owner: r.owner.String(), State: state, InFlight: r.flying.Load(), Last: r.lastOutcome()}
	if r.lost != nil && state == stateGone {
		info.GoneSince, info.GoneReason, info.Labels, info.Name = &r.lost.since, r.lost.why, r.lost.labels, r.lost.agent
	}
	return info
}

func (g *grant) info() RouteInfo {
	info := g.route.info(stateServed)
	since := time.Unix(0, g.since).UTC().Truncate(time.Second)
	info.Since = &since
	agent, target := agentInfo(g.session.agentInput()), g.claim.GetTarget()
	info.Session, info.Agent, info.Decision = g.session.id, &agent, g.decision
	info.Claimed, info.Labels = g.claim.GetLabels(), g.labels
	info.Target = &TargetInfo{Scheme: target.GetScheme(), Host: target.GetHost(), Port: int(target.GetPort()), Path: target.GetPath()}
	if g.limits != (authz.Limits{}) {
		info.Limits = &LimitsInfo{
			MaxBodyBytes: g.limits.MaxBodyBytes, MaxInflight: g.limits.MaxInflight,
			MaxTimeoutMS: g.limits.MaxTimeout.Milliseconds(), MaxRoutes: g.limits.MaxRoutes,
		}
	}
	return info
}

func agentInfo(in authz.AgentInput) AgentInfo {
	return AgentInfo{
		ID: in.ID, Kind: in.Kind, TrustDomain: in.TrustDomain, Name: in.Name, Serial: in.Serial,
		SPKISHA256: in.SPKISHA256, NotAfter: in.NotAfter, RemoteIP: in.RemoteIP, Source: in.Source,
	}
}
