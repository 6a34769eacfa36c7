package proxy

import (
	"container/list"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

var (
	// errOwned means that another identity holds the route.
	errOwned = errors.New("another identity holds this route")
	// errStale means that another policy than the one that allowed it is in force.
	errStale = errors.New("the policy has changed")
	// errEnded means that the session ended while its route was decided.
	errEnded = errors.New("the session has ended")
	// errClaims means that the identity has the proxy remember enough.
	errClaims = errors.New("this identity's routes claim more in paths, labels and targets than 800 bytes for each that it may hold by SALLYPORT_MAX_ROUTES_PER_SESSION and SALLYPORT_MAX_SESSIONS_PER_IDENTITY")
)

// table owns the routes. A route belongs to the first identity that registers
// it; its sessions share it. When the last of them is lost the route stays for a
// while, gone: its scrapes then answer that the agent is gone, and another
// identity may take it.
type table struct {
	perSession int
	claims     int // bytes of one identity's

	mu     sync.RWMutex
	routes map[string]*route
	owners map[authn.Identity]*tally
	all    tally     // of all owners
	gone   list.List // of *route, the longest gone first
	// changes counts what changed which routes there are, and their states.
	changes uint64
}

// tally counts an owner's routes. That of the gone ones bounds what an agent that
// comes, registers and goes, over and over, can make the proxy remember.
type tally struct {
	served, gone int
	claimed      int // bytes that its sessions claim of their routes
}

// maxClaimed is how much one identity may have the proxy remember of its claims, in bytes
// as they cross the tunnel: 800 for each route that its sessions may hold, which is 61 MiB
// by default. A route has a path, labels and a target, of up to 11 KiB.
func maxClaimed(cfg Config) int {
	const each = 800
	if all := each * float64(cfg.MaxRoutesPerSession) * float64(cfg.MaxSessionsPerIdentity); all < math.MaxInt32 {
		return int(all)
	}
	return math.MaxInt32
}

func newTable(perSession int) *table {
	return &table{perSession: perSession, claims: math.MaxInt, routes: make(map[string]*route), owners: make(map[authn.Identity]*tally)}
}

// lookup finds the route of a path.
func (t *table) lookup(path string) (found, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r, ok := t.routes[path]
	if !ok {
		return found{}, false
	}
	return found{route: r, owner: r.owner, grants: r.grants, lost: r.lost}, true
}

// state is what a policy is told of path when id offers it. A route whose agent
// is gone is held by nobody. The route itself does not count: what was allowed as the
// tenth of ten is so when it is judged again.
func (t *table) state(path string, id authn.Identity) authz.RouteState {
	t.mu.RLock()
	defer t.mu.RUnlock()
	state := authz.RouteState{TotalRoutes: len(t.routes)}
	if n, ok := t.owners[id]; ok {
		state.AgentRoutes = n.served
	}
	r, ok := t.routes[path]
	if !ok {
		return state
	}
	state.TotalRoutes--
	if len(r.grants) > 0 {
		state.Owner = r.owner.String()
		if r.owner == id {
			state.AgentRoutes--
		}
	}
	return state
}

// limitFor is how many routes a session may hold: the policy only tightens.
func (t *table) limitFor(limits authz.Limits) int {
	if limits.MaxRoutes > 0 {
		return int(min(limits.MaxRoutes, int64(t.perSession)))
	}
	return t.perSession
}

// full says that a session holds as many routes as it may, and who set the limit.
func (t *table) full(limits authz.Limits) error {
	most, whose := t.limitFor(limits), "the proxy's SALLYPORT_MAX_ROUTES_PER_SESSION allows"
	if most < t.perSession {
		whose = "the policy's max_routes allows"
	}
	return fmt.Errorf("the session holds %d routes, as many as %s", most, whose)
}

// register gives the grant's path to its session, unless another identity holds
// it, the session is full, or it has ended meanwhile. It asks under its lock whether
// the policy that allowed the grant is inForce, so that whoever judges by a later one
// finds the grant.
func (t *table) register(g *grant, inForce func() bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, path := g.session, g.claim.GetPath()
	if !inForce() {
		return errStale
	}
	if s.ended {
		return errEnded
	}
	old, held := s.routes[path]
	if !held && len(s.routes) >= t.limitFor(g.limits) {
		return t.full(g.limits)
	}
	more := proto.Size(g.claim)
	if held {
		more -= proto.Size(old.claim)
	}
	if n, ok := t.owners[s.identity]; ok && more > 0 && n.claimed+more > t.claims {
		return errClaims
	}
	r, err := t.claimLocked(path, s.identity)
	if err != nil {
		return err
	}
	t.owners[s.identity].claimed += more
	g.route = r
	s.routes[path] = g
	grants := slices.Clone(r.grants)
	if held {
		if maps.Equal(g.labels, old.labels) {
			g.since = old.since
		}
		grants[slices.Index(grants, old)] = g
	} else {
		grants = append(grants, g)
	}
	r.grants = grants
	return nil
}

// claimLocked finds or makes the route of a path for its owner to be.
func (t *table) claimLocked(path string, owner authn.Identity) (*route, error) {
	r, ok := t.routes[path]
	switch {
	case ok && r.owner != owner && len(r.grants) > 0:
		return nil, errOwned
	case ok && r.owner != owner:
		t.forgetLocked(r)
		ok = false
	}
	switch {
	case !ok:
		r = &route{path: path, segments: tunnelv1.Segments(path), owner: owner}
		t.routes[path] = r
		t.countLocked(owner, +1, 0)
	case r.lost != nil:
		r.lost = nil
		t.gone.Remove(r.place)
		r.place = nil
		t.countLocked(owner, +1, -1)
	}
	return r, nil
}

// renew replaces a grant by what a new decision says of it; false: the session
// does not hold the route any more.
func (t *table) renew(old, renewed *grant) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old.session.routes[old.claim.GetPath()] != old {
		return false
	}
	r := old.route
	renewed.route, renewed.since = r, old.since
	old.session.routes[r.path] = renewed
	grants := slices.Clone(r.grants)
	grants[slices.Index(grants, old)] = renewed
	r.grants = grants
	return true
}

// holds reports whether the grant's session still holds its route.
func (t *table) holds(g *grant) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, ok := g.session.routes[g.route.path]
	return ok
}

// grantsOf are the session's, by path.
func (t *table) grantsOf(s *session) []*grant {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.SortedFunc(maps.Values(s.routes), func(a, b *grant) int {
		return strings.Compare(a.route.path, b.route.path)
	})
}

// withdraw takes a route from the session for good; with no grant left the path
// is free.
func (t *table) withdraw(s *session, path string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	g, ok := s.routes[path]
	if ok {
		t.withdrawLocked(g)
	}
	return ok
}

// revoke withdraws a grant, unless another has replaced it meanwhile.
func (t *table) revoke(g *grant) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ok := g.session.routes[g.route.path] == g
	if ok {
		t.withdrawLocked(g)
	}
	return ok
}

func (t *table) withdrawLocked(g *grant) {
	t.detachLocked(g)
	if r := g.route; len(r.grants) == 0 {
		delete(t.routes, r.path)
		t.countLocked(r.owner, -1, 0)
	}
}

// lose detaches all routes of a session that has ended. Those without another
// holder are gone from now on, and tell why.
func (t *table) lose(s *session, now time.Time, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.ended = true
	for _, g := range s.routes {
		t.detachLocked(g)
		r := g.route
		if len(r.grants) > 0 {
			continue
		}
		if t.owners[r.owner].gone >= t.perSession {
			delete(t.routes, r.path)
			t.countLocked(r.owner, -1, 0)
			continue
		}
		r.lost = &lost{since: now, labels: g.labels, agent: g.session.agent, why: why}
		r.place = t.gone.PushBack(r)
		t.countLocked(r.owner, -1, +1)
	}
}

// prune forgets routes that have been gone since before then.
func (t *table) prune(then time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for first := t.gone.Front(); first != nil; first = t.gone.Front() {
		r := first.Value.(*route)
		if !r.lost.since.Before(then) {
			return
		}
		t.forgetLocked(r)
	}
}

// count returns the number of routes that are served and that are gone.
func (t *table) count() (served, gone int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.all.served, t.all.gone
}

func (t *table) detachLocked(g *grant) {
	t.owners[g.session.identity].claimed -= proto.Size(g.claim)
	delete(g.session.routes, g.route.path)
	g.route.grants = slices.DeleteFunc(slices.Clone(g.route.grants), func(other *grant) bool { return other == g })
}

// forgetLocked removes a gone route.
func (t *table) forgetLocked(r *route) {
	delete(t.routes, r.path)
	t.gone.Remove(r.place)
	t.countLocked(r.owner, 0, -1)
}

func (t *table) countLocked(owner authn.Identity, served, gone int) {
	t.changes++
	n, ok := t.owners[owner]
	if !ok {
		n = new(tally)
		t.owners[owner] = n
	}
	n.served, n.gone = n.served+served, n.gone+gone
	t.all.served, t.all.gone = t.all.served+served, t.all.gone+gone
	if *n == (tally{}) {
		delete(t.owners, owner)
	}
}
