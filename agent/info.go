package agent

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// askPatience is how long a session that is busy may take to say how its routes are.
const askPatience = 500 * time.Millisecond

// The states of a link to a proxy.
const (
	linkReady   = "ready"        // the proxy has answered for each route
	linkPending = "connected"    // it has not, or the session is ending
	linkAbsent  = "disconnected" // there is no session
)

// ProxyInfo describes to an operator how the agent stands with one proxy.
type ProxyInfo struct {
	Addr  string `json:"addr"`
	State string `json:"state"` // ready, connected (the routes have no answer yet, or it ends) or disconnected
	// Reason is why it is not ready, Hint what to look at.
	Reason string    `json:"reason,omitempty"`
	Hint   string    `json:"hint,omitempty"`
	Since  time.Time `json:"since"` // of this state and reason
	// What there is of a session.
	ID        string     `json:"id,omitempty"` // that the proxy proved
	Session   string     `json:"session,omitempty"`
	Software  string     `json:"software,omitempty"` // its own claim
	Connected *time.Time `json:"connected,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"` // of what it proved
	Accepted  int        `json:"routes_accepted"`
	Refused   int        `json:"routes_refused"`
	Offered   int        `json:"routes_offered"`
}

// RouteInfo describes a target and what became of its route.
type RouteInfo struct {
	Path    string       `json:"path"`
	Target  string       `json:"target"` // the URL as proxies are told it, without its query
	Answers []AnswerInfo `json:"answers"`
	Last    *LastInfo    `json:"last_scrape,omitempty"`
}

// AnswerInfo is what one proxy said to a route.
type AnswerInfo struct {
	Proxy string `json:"proxy"`
	State string `json:"state"` // accepted, refused, offered, or none without a session
	// Why and when it is offered again, of a refused one.
	Code     string     `json:"code,omitempty"`
	Reasons  string     `json:"reasons,omitempty"`
	Decision string     `json:"decision,omitempty"`
	Again    *time.Time `json:"offered_again,omitempty"`
}

// LastInfo is the last scrape of a target that says something about it.
type LastInfo struct {
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome"`
	Reason  string    `json:"reason,omitempty"`
}

// Name is what the agent calls itself.
func (a *Agent) Name() string { return a.cfg.Name }

// Proxies tells of each proxy address, as configured.
func (a *Agent) Proxies() []ProxyInfo {
	infos := make([]ProxyInfo, 0, len(a.links))
	for _, l := range a.links {
		info, answers := l.info()
		for _, answer := range answers {
			switch answer.State {
			case routeAccepted.String():
				info.Accepted++
			case routeRefused.String():
				info.Refused++
			default:
				info.Offered++
			}
		}
		infos = append(infos, info)
	}
	return infos
}

// Routes tells of each target, by path.
func (a *Agent) Routes() []RouteInfo {
	endpoints := a.table.load().endpoints
	answers := make([]map[string]AnswerInfo, len(a.links))
	for i, l := range a.links {
		_, answers[i] = l.info()
	}
	infos := make([]RouteInfo, 0, len(endpoints))
	for _, path := range slices.Sorted(maps.Keys(endpoints)) {
		e := endpoints[path]
		info := RouteInfo{Path: path, Target: e.shown(), Last: e.health.info()}
		for i, l := range a.links {
			answer, ok := answers[i][path]
			if !ok {
				answer.State = "none"
			}
			answer.Proxy = l.addr
			info.Answers = append(info.Answers, answer)
		}
		infos = append(infos, info)
	}
	return infos
}

// standing is what an attempt tells of itself; under link.mu.
type standing struct {
	reason string // why it is not ready, "" when it is
	hint   string
	since  time.Time

	session   *session // nil before the welcome
	id        string
	software  string
	name      string
	connected time.Time
	notAfter  time.Time
}

// info tells of the link, and of the routes of its session by path.
func (l *link) info() (ProxyInfo, map[string]AnswerInfo) {
	info := ProxyInfo{Addr: l.addr, State: linkAbsent, Reason: "not yet connected"}
	l.mu.Lock()
	front := l.front
	if front == nil {
		l.mu.Unlock()
		return info, nil
	}
	told := front.standing
	l.mu.Unlock()
	info.Reason, info.Hint, info.Since = told.reason, told.hint, told.since
	select {
	case <-front.ended:
		return info, nil
	default:
	}
	if told.session == nil {
		return info, nil
	}
	info.State, info.ID, info.Session, info.Software = linkPending, told.id, told.name, told.software
	info.Connected, info.NotAfter = &told.connected, &told.notAfter
	if told.reason == "" {
		info.State = linkReady
	}
	return info, front.ask(told.session)
}

// ask has the session's own goroutine say how its routes are; nil where it does not.
func (a *attempt) ask(s *session) map[string]AnswerInfo {
	reply := make(chan map[string]AnswerInfo, 1)
	patience := time.NewTimer(askPatience)
	defer patience.Stop()
	select {
	case s.asked <- reply:
		return <-reply
	case <-a.ended:
	case <-patience.C:
	}
	return nil
}

// answers are those of the proxy, by path.
func (b *routeBook) answers() map[string]AnswerInfo {
	answers := make(map[string]AnswerInfo, len(b.routes))
	for path, r := range b.routes {
		answer := AnswerInfo{State: r.state.String()}
		if r.state == routeRefused {
			again := r.again
			answer.Code, answer.Reasons, answer.Decision, answer.Again = r.code, r.reasons, r.decision, &again
		}
		answers[path] = answer
	}
	return answers
}

// info is nil before the first scrape.
func (h *health) info() *LastInfo {
	at := h.at.Load()
	if at == 0 {
		return nil
	}
	code, status := tunnelv1.End_Code(h.last.Load()), h.status.Load()
	info := &LastInfo{At: time.UnixMilli(at).UTC(), Outcome: outcomes[code]}
	switch {
	case code == tunnelv1.End_COMPLETE && status != http.StatusOK:
		info.Outcome, info.Reason = outcomeTargetStatus, "it answered with status "+strconv.Itoa(int(status))
	case code != tunnelv1.End_COMPLETE:
		if reason := h.reason.Load(); reason != nil {
			info.Reason = *reason
		}
	}
	return info
}
