package proxy

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// The states of a route, as they are asked for. Failing ones are served, too.
const (
	stateServed  = "served"
	stateGone    = "gone"
	stateFailing = "failing"
	stateWell    = "well"
)

// RouteQuery says which routes are asked for. Its zero value asks for all.
type RouteQuery struct {
	Path    string // that one
	State   string // served, of which each is well or failing, or gone
	Owner   string // the identity
	Outcome Outcome
	Search  string // in the path, the owner, the agents' names, whatever the case
	After   string // the path behind which to go on
	Limit   int    // rows at most; one path's rows stay together, so a few more may come
	Recent  bool   // with the last scrapes
}

// Validate refuses a cursor that no page has.
func (q RouteQuery) Validate() error {
	if q.After != "" && tunnelv1.CheckPath(q.After) != nil {
		return errCursor
	}
	return nil
}

var errCursor = errors.New("after is no cursor of this list")

// RoutePage is an answer, by path, a row for each session that holds a route.
type RoutePage struct {
	Routes []RouteInfo
	// Next is what After must be for the routes that are left; "" if there are none.
	Next string
}

// RouteCounts counts routes by state. Failing ones are among the served.
type RouteCounts struct {
	Served  int `json:"served"`
	Failing int `json:"failing"`
	Gone    int `json:"gone"`
}

// browsing is what lists of routes share: their order, which is made anew when it is
// asked for and not what it was. While nobody looks it is given up, with the routes in it
// that are gone by then.
type browsing struct {
	mu      sync.Mutex
	routes  []*route
	changes uint64
	fresh   bool
	looked  time.Time
}

// browsingPause is how long the order outlasts the last look.
const browsingPause = time.Minute

// rest gives the order up where nobody looked at it for long.
func (b *browsing) rest(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fresh && now.Sub(b.looked) >= browsingPause {
		b.routes, b.fresh = nil, false
	}
}

// browsedInARow is how many routes are looked at under the table's lock: scrapes wait
// meanwhile.
const browsedInARow = 256

// order is every route, by path, and as of which change. The slice must not be changed.
func (p *Proxy) order() ([]*route, uint64) {
	b := &p.browsing
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looked = time.Now()
	p.routes.mu.RLock()
	changes := p.routes.changes
	p.routes.mu.RUnlock()
	if !b.fresh || changes != b.changes {
		// What changes meanwhile makes another order due.
		b.routes, b.changes, b.fresh = p.routes.sorted(), changes, true
	}
	return b.routes, b.changes
}

// Browse lists the routes that are asked for.
func (p *Proxy) Browse(q RouteQuery) RoutePage {
	var page RoutePage
	p.walk(q, func(r *route) bool {
		if q.Limit > 0 && len(page.Routes) >= q.Limit {
			page.Next = page.Routes[len(page.Routes)-1].Path
			return false
		}
		page.Routes = r.infos(page.Routes, q.Recent)
		return true
	})
	return page
}

// CountRoutes counts the routes that are asked for, by state.
func (p *Proxy) CountRoutes(q RouteQuery) (counts RouteCounts) {
	p.walk(q, func(r *route) bool {
		switch {
		case len(r.grants) == 0:
			counts.Gone++
		case failing(r.lastOutcome()):
			counts.Failing++
			fallthrough
		default:
			counts.Served++
		}
		return true
	})
	return counts
}

// walk shows the routes that are asked for, by path, until one is not taken. It has the
// table's lock while it does, and lets go of it now and then.
func (p *Proxy) walk(q RouteQuery, take func(*route) bool) {
	order, changes := p.order()
	if q.Path != "" {
		q.After = ""
		at, found := slices.BinarySearchFunc(order, q.Path, comparePath)
		order = order[at:]
		order = order[:min(len(order), 1)]
		if !found {
			return
		}
	}
	if q.After != "" {
		at, found := slices.BinarySearchFunc(order, q.After, comparePath)
		if found {
			at++
		}
		order = order[at:]
	}
	q.Search = strings.ToLower(q.Search)
	for len(order) > 0 {
		n := min(len(order), browsedInARow)
		if !p.walkSome(q, order[:n], changes, take) {
			return
		}
		order = order[n:]
	}
}

func (p *Proxy) walkSome(q RouteQuery, routes []*route, changes uint64, take func(*route) bool) bool {
	p.routes.mu.RLock()
	defer p.routes.mu.RUnlock()
	asOrdered := p.routes.changes == changes
	for _, r := range routes {
		// It may have gone since, or be another's.
		if (asOrdered || p.routes.routes[r.path] == r) && q.wants(r) && !take(r) {
			return false
		}
	}
	return true
}

func comparePath(r *route, path string) int { return strings.Compare(r.path, path) }

// wants judges a route under the table's lock.
func (q *RouteQuery) wants(r *route) bool {
	switch q.State {
	case stateServed:
		if len(r.grants) == 0 {
			return false
		}
	case stateGone:
		if len(r.grants) > 0 {
			return false
		}
	case stateFailing:
		if len(r.grants) == 0 || !failing(r.lastOutcome()) {
			return false
		}
	case stateWell:
		if len(r.grants) == 0 || failing(r.lastOutcome()) {
			return false
		}
	}
	return (q.Owner == "" || q.Owner == r.owner.String()) &&
		(q.Outcome == "" || q.Outcome == r.lastOutcome()) &&
		(q.Search == "" || r.mentions(q.Search))
}

// failing tells whether that last outcome is a failure.
func failing(last Outcome) bool { return last != "" && last != OK }

// mentions looks for a text in lower case.
func (r *route) mentions(text string) bool {
	if contains(r.path, text) || contains(r.owner.String(), text) {
		return true
	}
	for _, g := range r.grants {
		if contains(g.session.agent, text) {
			return true
		}
	}
	return r.lost != nil && contains(r.lost.agent, text)
}

// contains looks for a text in lower case, and makes no copy of s in lower case.
func contains(s, text string) bool {
	for i := 0; i+len(text) <= len(s); i++ {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if (c == text[0] || c >= utf8.RuneSelf) && strings.EqualFold(s[i:i+len(text)], text) {
			return true
		}
	}
	return false
}

// infos adds the route's rows, under the table's lock.
func (r *route) infos(rows []RouteInfo, recent bool) []RouteInfo {
	from := len(rows)
	if len(r.grants) == 0 {
		rows = append(rows, r.info(stateGone))
	}
	for _, g := range r.grants {
		rows = append(rows, g.info())
	}
	scrapes, failed := r.recent()
	for i := from; i < len(rows); i++ {
		rows[i].Failure = failed
		if recent {
			rows[i].Recent = scrapes
		}
	}
	return rows
}

// Routes lists the routes by path, once for each session that holds one.
func (p *Proxy) Routes() []RouteInfo {
	page := p.Browse(RouteQuery{})
	if page.Routes == nil {
		return []RouteInfo{}
	}
	return page.Routes
}

// Scrapes lists the scrapes that are remembered of the routes that are asked for, by
// path, the latest of each first. The routes' Limit is one of scrapes here.
func (p *Proxy) Scrapes(q RouteQuery) (scrapes []ScrapeInfo, next string) {
	p.walk(q, func(r *route) bool {
		if q.Limit > 0 && len(scrapes) >= q.Limit {
			next = scrapes[len(scrapes)-1].Route
			return false
		}
		recent, _ := r.recent()
		for i := range recent {
			recent[i].Route = r.path
		}
		scrapes = append(scrapes, recent...)
		return true
	})
	return scrapes, next
}

// All is the same question about all routes, page or no page.
func (q RouteQuery) All() RouteQuery {
	q.After, q.Limit = "", 0
	return q
}
