package proxy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// SessionQuery says which sessions are asked for. Its zero value asks for all.
type SessionQuery struct {
	State  string // live or draining
	Owner  string // the identity
	Search string // in the identity, the agent's name, its address, whatever the case
	After  string // the cursor behind which to go on
	Limit  int    // 0: all
}

// Validate refuses a cursor that no page has.
func (q SessionQuery) Validate() error {
	_, err := q.after()
	return err
}

// after is the number of the session that the cursor names, 0 for none.
func (q SessionQuery) after() (uint64, error) {
	if q.After == "" {
		return 0, nil
	}
	seq, err := strconv.ParseUint(q.After, 10, 64)
	if err != nil {
		return 0, errCursor
	}
	return seq, nil
}

// Sessions lists the sessions, the oldest first.
func (p *Proxy) Sessions() []SessionInfo {
	infos, _ := p.BrowseSessions(SessionQuery{})
	return infos
}

// BrowseSessions lists the sessions that are asked for, the oldest first, and the cursor
// for those that are left, "" if there are none.
func (p *Proxy) BrowseSessions(q SessionQuery) (infos []SessionInfo, next string) {
	all := p.sessions.all()
	slices.SortFunc(all, func(a, b *session) int { return cmp.Compare(a.seq, b.seq) })
	after, _ := q.after()
	q.Search = strings.ToLower(q.Search)
	infos = []SessionInfo{}
	last := uint64(0)
	for _, s := range all {
		if s.seq <= after || !q.wants(s) {
			continue
		}
		if q.Limit > 0 && len(infos) >= q.Limit {
			return infos, strconv.FormatUint(last, 10)
		}
		infos, last = append(infos, p.sessionInfo(s)), s.seq
	}
	return infos, ""
}

func (q *SessionQuery) wants(s *session) bool {
	draining := s.draining.Load()
	return (q.State == "" || draining == (q.State == "draining")) &&
		(q.Owner == "" || q.Owner == s.identity.String()) &&
		(q.Search == "" || contains(s.identity.String(), q.Search) || contains(s.agent, q.Search) || contains(s.remoteIP, q.Search))
}

func (p *Proxy) sessionInfo(s *session) SessionInfo {
	peer := s.peer()
	info := SessionInfo{ID: s.id, Agent: agentInfo(s.agentInput()), Since: s.since, Draining: s.draining.Load()}
	info.Group, info.Suite = peer.GroupName(), peer.SuiteName()
	if len(peer.Chain) > 0 {
		info.NotBefore = peer.Chain[0].NotBefore
	}
	info.Routes = p.routes.heldBy(s)
	info.Idle, info.Lent = s.lanes.size()
	return info
}

// heldBy counts the session's routes.
func (t *table) heldBy(s *session) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(s.routes)
}
