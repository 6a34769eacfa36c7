package proxy

import (
	"container/list"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// route is a path and who serves it. All but flying and story belongs to the
// table's lock; grants is replaced, never changed, so that a scrape may read the
// slice that it was given.
type route struct {
	path     string
	segments []string
	owner    authn.Identity
	grants   []*grant // the oldest first
	// lost is what there was of the last grant; nil while there is one.
	lost *lost
	// place is its one among the gone; nil while there is a grant.
	place *list.Element
	// flying counts the scrapes in flight.
	flying atomic.Int64
	// story is what there is to tell of its scrapes; nil before the first.
	story atomic.Pointer[story]
}

// grant is what one session holds of a route: what its agent claims, and what the
// policy obliges it to. It is immutable; a later decision replaces it.
type grant struct {
	session  *session
	route    *route
	claim    *tunnelv1.Route
	limits   authz.Limits
	labels   map[string]string // the agent's and the policy's; the policy's win
	decision string
	// since is when the session registered the route, or other labels of it, in
	// nanoseconds since 1970.
	since int64
}

func newGrant(s *session, claim *tunnelv1.Route, d authz.Decision) *grant {
	return &grant{
		session: s, claim: claim, limits: d.Limits, labels: merged(claim.GetLabels(), d.Labels), decision: d.ID, since: time.Now().UnixNano(),
	}
}

// merged is both in one map that nobody changes: most routes have no labels, and no
// map then, or those of one side.
func merged(claimed, decided map[string]string) map[string]string {
	switch {
	case len(decided) == 0:
		return claimed
	case len(claimed) == 0:
		return decided
	}
	labels := make(map[string]string, len(claimed)+len(decided))
	maps.Copy(labels, claimed)
	maps.Copy(labels, decided)
	return labels
}

// lost is what stays of a route whose agent is gone: it is judged and listed as
// before, or its series would change their names when they are to tell of that.
type lost struct {
	since  time.Time
	labels map[string]string
	agent  string // the name that it gave itself
	why    string // its session ended
}

// found is what a scrape needs of a route, at one moment. Its zero is no route.
type found struct {
	route  *route
	owner  authn.Identity
	grants []*grant
	lost   *lost
}

// labels are those of the newest grant, as a scrape's policy sees them, or those that
// the last one left.
func (f found) labels() map[string]string {
	if g := f.newest(); g != nil {
		return g.labels
	}
	if f.lost != nil {
		return f.lost.labels
	}
	return nil
}

// registeredSince tells whether a session has registered it since then.
func (f found) registeredSince(then time.Time) bool {
	return slices.ContainsFunc(f.grants, func(g *grant) bool { return g.since >= then.UnixNano() })
}

// newest is the newest grant, if possible one that takes scrapes; nil if there is none.
func (f found) newest() *grant {
	if len(f.grants) == 0 {
		return nil
	}
	for _, g := range slices.Backward(f.grants) {
		if !g.session.draining.Load() {
			return g
		}
	}
	return f.grants[len(f.grants)-1]
}

// labelled leaves the grants that have these labels: sessions of one identity may
// differ in them, and what was allowed by some is not carried by others.
func (f found) labelled(labels map[string]string) found {
	other := func(g *grant) bool { return !maps.Equal(g.labels, labels) }
	if slices.ContainsFunc(f.grants, other) {
		f.grants = slices.DeleteFunc(slices.Clone(f.grants), other)
	}
	return f
}
