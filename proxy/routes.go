package proxy

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// errOwned means that another identity holds the route.
var errOwned = errors.New("another identity holds this route")

// errFull means that the session holds as many routes as it may.
var errFull = errors.New("the session holds as many routes as it may")

// errEnded means that the session ended while its route was decided.
var errEnded = errors.New("the session has ended")

// route is a path and who serves it. All but last belongs to the table's lock;
// holders is replaced, never changed, so that a scrape may read the slice that
// it was given.
type route struct {
	path     string
	segments []string
	owner    authn.Identity
	labels   map[string]string
	holders  []*session
	// goneSince is when the last holder left; zero while there is one.
	goneSince time.Time
	// last is how the last scrape ended, so that a change is logged once.
	last atomic.Value
}

// table owns the routes. A route belongs to the first identity that registers
// it; its sessions share it. When the last of them is lost the route stays for a
// while, gone: its scrapes then answer that the agent is gone, and another
// identity may take it.
type table struct {
	perSession int

	mu     sync.RWMutex
	routes map[string]*route
	owners map[authn.Identity]*tally
}

// tally counts an owner's routes. That of the gone ones bounds what an agent that
// comes, registers and goes, over and over, can make the proxy remember.
type tally struct{ served, gone int }

func newTable(perSession int) *table {
	return &table{perSession: perSession, routes: make(map[string]*route), owners: make(map[authn.Identity]*tally)}
}

// found is what a scrape needs of a route, at one moment.
type found struct {
	route   *route
	owner   authn.Identity
	labels  map[string]string
	holders []*session
}

// lookup finds the route of a path.
func (t *table) lookup(path string) (found, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r, ok := t.routes[path]
	if !ok {
		return found{}, false
	}
	return found{route: r, owner: r.owner, labels: r.labels, holders: r.holders}, true
}

// state is what a policy is told of path when id offers it. A route whose agent
// is gone is held by nobody.
func (t *table) state(path string, id authn.Identity) authz.RouteState {
	t.mu.RLock()
	defer t.mu.RUnlock()
	state := authz.RouteState{TotalRoutes: len(t.routes)}
	if r, ok := t.routes[path]; ok && len(r.holders) > 0 {
		state.Owner = r.owner.String()
	}
	if n, ok := t.owners[id]; ok {
		state.AgentRoutes = n.served
	}
	return state
}

// register gives path to the session, unless another identity holds it, the
// session is full, or it has ended meanwhile.
func (t *table) register(s *session, path string, labels map[string]string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.ended {
		return errEnded
	}
	if _, held := s.routes[path]; !held && len(s.routes) >= t.perSession {
		return errFull
	}
	owner := s.peer.Identity
	r, ok := t.routes[path]
	switch {
	case ok && r.owner != owner && len(r.holders) > 0:
		return errOwned
	case ok && r.owner != owner:
		t.forgetLocked(r)
		ok = false
	}
	switch {
	case !ok:
		r = &route{path: path, segments: tunnelv1.Segments(path), owner: owner}
		t.routes[path] = r
		t.countLocked(owner, +1, 0)
	case !r.goneSince.IsZero():
		r.goneSince = time.Time{}
		t.countLocked(owner, +1, -1)
	}
	r.labels = labels
	if _, held := s.routes[path]; !held {
		s.routes[path] = r
		r.holders = append(append(make([]*session, 0, len(r.holders)+1), r.holders...), s)
	}
	return nil
}

// withdraw takes a route from the session for good; with no holder left the path
// is free.
func (t *table) withdraw(s *session, path string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := s.routes[path]
	if !ok {
		return false
	}
	t.detachLocked(s, r)
	if len(r.holders) == 0 {
		delete(t.routes, path)
		t.countLocked(r.owner, -1, 0)
	}
	return true
}

// lose detaches all routes of a session that has ended. Those without another
// holder are gone from now on.
func (t *table) lose(s *session, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.ended = true
	for _, r := range s.routes {
		t.detachLocked(s, r)
		if len(r.holders) > 0 {
			continue
		}
		if t.owners[r.owner].gone >= t.perSession {
			delete(t.routes, r.path)
			t.countLocked(r.owner, -1, 0)
			continue
		}
		r.goneSince = now
		t.countLocked(r.owner, -1, +1)
	}
}

// prune forgets routes that have been gone since before then.
func (t *table) prune(then time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.routes {
		if !r.goneSince.IsZero() && r.goneSince.Before(then) {
			t.forgetLocked(r)
		}
	}
}

// count returns the number of routes that are served and that are gone.
func (t *table) count() (served, gone int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, n := range t.owners {
		served, gone = served+n.served, gone+n.gone
	}
	return served, gone
}

func (t *table) detachLocked(s *session, r *route) {
	delete(s.routes, r.path)
	holders := make([]*session, 0, len(r.holders))
	for _, h := range r.holders {
		if h != s {
			holders = append(holders, h)
		}
	}
	r.holders = holders
}

// forgetLocked removes a gone route.
func (t *table) forgetLocked(r *route) {
	delete(t.routes, r.path)
	t.countLocked(r.owner, 0, -1)
}

func (t *table) countLocked(owner authn.Identity, served, gone int) {
	n, ok := t.owners[owner]
	if !ok {
		n = new(tally)
		t.owners[owner] = n
	}
	n.served, n.gone = n.served+served, n.gone+gone
	if *n == (tally{}) {
		delete(t.owners, owner)
	}
}
