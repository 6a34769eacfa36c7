package proxy

import (
	"cmp"
	"slices"
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
	Group    string    `json:"tls_group"` // the key exchange of its connection
	Suite    string    `json:"tls_suite"`
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
	Path      string            `json:"path"`
	Owner     string            `json:"owner"`
	State     string            `json:"state"` // "served" or "gone"
	GoneSince *time.Time        `json:"gone_since,omitempty"`
	Session   string            `json:"session,omitempty"`
	Agent     *AgentInfo        `json:"agent,omitempty"`
	Claimed   map[string]string `json:"claimed_labels,omitempty"`
	Target    *TargetInfo       `json:"claimed_target,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Limits    *LimitsInfo       `json:"limits,omitempty"`
	Decision  string            `json:"decision,omitempty"`
	InFlight  int64             `json:"in_flight"`
	Last      Outcome           `json:"last_outcome,omitempty"`
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

// Sessions lists the sessions, the oldest first.
func (p *Proxy) Sessions() []SessionInfo {
	all := p.sessions.all()
	slices.SortFunc(all, func(a, b *session) int { return cmp.Compare(a.seq, b.seq) })
	infos := make([]SessionInfo, 0, len(all))
	for _, s := range all {
		info := SessionInfo{ID: s.id, Agent: agentInfo(s.agentInput()), Since: s.since, Draining: s.draining.Load()}
		info.Group, info.Suite = s.peer().GroupName(), s.peer().SuiteName()
		info.Routes = len(p.routes.grantsOf(s))
		info.Idle, info.Lent = s.lanes.size()
		infos = append(infos, info)
	}
	return infos
}

// Routes lists the routes by path, once for each session that holds one.
func (p *Proxy) Routes() []RouteInfo {
	infos := p.routes.list()
	slices.SortStableFunc(infos, func(a, b RouteInfo) int { return cmp.Compare(a.Path, b.Path) })
	return infos
}

func (t *table) list() []RouteInfo {
	t.mu.RLock()
	defer t.mu.RUnlock()
	infos := make([]RouteInfo, 0, len(t.routes))
	for _, r := range t.routes {
		if len(r.grants) == 0 {
			info := r.info("gone")
			info.GoneSince = &r.goneSince
			infos = append(infos, info)
		}
		for _, g := range r.grants {
			infos = append(infos, g.info())
		}
	}
	return infos
}

func (r *route) info(state string) RouteInfo {
	last, _ := r.last.Load().(Outcome)
	return RouteInfo{Path: r.path, Owner: r.owner.String(), State: state, InFlight: r.flying.Load(), Last: last}
}

func (g *grant) info() RouteInfo {
	info := g.route.info("served")
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
