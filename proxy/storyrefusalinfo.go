package proxy

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
)

// RefusalInfo describes what was refused lately, repeats of the same in one.
type RefusalInfo struct {
	Action   string `json:"action"` // session, register, scrape or admin
	Effect   string `json:"effect"` // denied or revoked by the policy, refused by the proxy itself
	Identity string `json:"identity"`
	Route    string `json:"route,omitempty"`
	RemoteIP string `json:"remote_ip,omitempty"`
	Serial   string `json:"serial,omitempty"`
	// Reasons are the policy's, Why is the proxy's own, Fault what went wrong with
	// the policy.
	Reasons  []string `json:"reasons,omitempty"`
	Why      string   `json:"why,omitempty"`
	Fault    string   `json:"fault,omitempty"`
	Decision string   `json:"decision,omitempty"`
	Revision string   `json:"revision,omitempty"`
	// Count is how often since First; Settled is when it was allowed after all, TakenBack
	// when the agent said that it does not offer it any more.
	First     time.Time  `json:"first"`
	Last      time.Time  `json:"last"`
	Count     uint64     `json:"count"`
	Settled   *time.Time `json:"settled,omitempty"`
	TakenBack *time.Time `json:"taken_back,omitempty"`
	// Standing: it is so still, as far as the proxy knows.
	Standing bool `json:"standing"`
	// Input is what the policy was asked: sallyport policy eval --input takes it.
	Input json.RawMessage `json:"input,omitempty"`
	// Redacted: Input has not the values of the scrape's query, and so another digest
	// than the audit log has.
	Redacted bool `json:"redacted,omitempty"`
}

// Refusals lists what was refused lately, the latest first.
func (p *Proxy) Refusals() []RefusalInfo {
	infos := p.rejections.infos(p.sessions.oldest())
	revision := p.policy.Revision()
	for i, info := range infos {
		if info.Standing && (info.Action == "scrape" || info.Action == "admin") {
			infos[i].Standing = p.stands(info, revision)
		}
	}
	return infos
}

// stands tells whether a scraper that was refused would be so still. An agent that is
// refused asks again, and what was refused is then allowed or not; what a scrape that
// goes well had been refused before is never looked for, or all would pay for it. So it
// is no more than what is known now: another policy, or another registration, whose
// labels it may allow, has not refused it yet.
func (p *Proxy) stands(info RefusalInfo, revision string) bool {
	if info.Decision != "" && info.Revision != revision {
		return false
	}
	if info.Action != "scrape" {
		return true
	}
	route, ok := p.routes.lookup(info.Route)
	if info.Effect == string(authz.Refused) {
		return !ok // nobody had registered it
	}
	return !route.registeredSince(info.Last)
}

// infos describes all; oldest is since when each identity has a session. An offer is
// refused still only if one is there that was when it was made: those that came later
// have not made it.
func (r *rejections) infos(oldest map[string]time.Time) []RefusalInfo {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	infos := make([]RefusalInfo, 0, r.agents.order.Len()+r.scrapes.order.Len())
	a, s := r.agents.order.Front(), r.scrapes.order.Front()
	for a != nil || s != nil {
		var x *rejection
		if s == nil || a != nil && !a.Value.(*rejection).last.Before(s.Value.(*rejection).last) {
			x, a = a.Value.(*rejection), a.Next()
		} else {
			x, s = s.Value.(*rejection), s.Next()
		}
		info := x.info()
		info.Standing = x.open() && now.Sub(x.last) < standingFor
		if since, ok := oldest[x.identity]; x.action == "register" {
			info.Standing = info.Standing && ok && !since.After(x.last)
		}
		infos = append(infos, info)
	}
	return infos
}

func (x *rejection) info() RefusalInfo {
	info := RefusalInfo{
		Action: x.action, Effect: string(x.effect), Identity: x.identity, Route: x.route, RemoteIP: x.remoteIP, Serial: x.serial,
		Reasons: x.decision.Reasons, Why: x.why, Decision: x.decision.ID, Revision: x.decision.Revision,
		First: x.first.UTC(), Last: x.last.UTC(), Count: x.count, Input: x.document, Redacted: x.redacted,
	}
	if faulty(x.decision) {
		info.Fault = oneLine(strings.TrimSpace(x.decision.Fault.Error()), maxStoryText)
	}
	info.Settled, info.TakenBack = moment(x.settled), moment(x.takenBack)
	return info
}

// moment is nil where nothing has happened.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// oldest is since when each identity has a session.
func (m *sessions) oldest() map[string]time.Time {
	m.mu.RLock()
	defer m.mu.RUnlock()
	since := make(map[authn.Identity]time.Time, len(m.byIdentity))
	for _, s := range m.byConn {
		if at, ok := since[s.identity]; !ok || s.since.Before(at) {
			since[s.identity] = s.since
		}
	}
	all := make(map[string]time.Time, len(since))
	for id, at := range since {
		all[id.String()] = at
	}
	return all
}
