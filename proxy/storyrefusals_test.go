package proxy

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authz"
)

// However many are refused, and however different things, what is remembered is bounded:
// in all, and of each, so that one cannot make the others be forgotten. What comes in a
// flood is counted, and costs no input.
func TestRejectionsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRejections()
	asked := 0
	now := time.Now()
	note := func(identity, route string) {
		r.note(verdict{
			Event:    authz.Event{Time: now, Action: "register", Effect: authz.Denied, Identity: identity, Route: route},
			document: func() []byte { asked++; return []byte("{}") },
		})
	}
	note("quiet", "/a")
	for i := range 1000 {
		note("loud", fmt.Sprint("/", i))
		note("loud", "/0")
	}
	if n := r.agents.order.Len(); n != 1+maxRejectionsPerAgent || asked != n {
		t.Errorf("%d are remembered, %d inputs made", n, asked)
	}
	for i := range 1000 {
		now = now.Add(2 * rejectionPause)
		note(fmt.Sprint("agent ", i), "/x")
	}
	if n := r.agents.order.Len(); n != maxAgentRejections || len(r.agents.byKey) != n || len(r.agents.of) != n {
		t.Errorf("%d are remembered, %d keys, %d identities", n, len(r.agents.byKey), len(r.agents.of))
	}
}

// What there is no room for is counted, and for as long as it may stand the list is known
// not to be all; what was allowed since does not count as that.
func TestForgottenRejectionsAreCounted(t *testing.T) {
	t.Parallel()
	r := newRejections()
	p := &Proxy{rejections: r}
	note := func(effect authz.Effect, i int, at time.Time) {
		r.note(verdict{Event: authz.Event{Time: at, Action: "register", Effect: effect, Identity: "a", Route: fmt.Sprint("/", i)}})
	}
	now := time.Now()
	for i := range maxRejectionsPerAgent {
		note(authz.Denied, i, now)
	}
	if n := p.ForgottenRefusals(); n != (ForgottenRefusals{}) {
		t.Errorf("none is forgotten: %+v", n)
	}
	note(authz.Registered, 0, now)
	note(authz.Denied, 100, now.Add(2*rejectionPause)) // where the one is that was allowed
	if n := p.ForgottenRefusals().Agents; n != (Forgotten{Count: 1}) {
		t.Errorf("one that is allowed is forgotten: %+v", n)
	}
	note(authz.Denied, 101, now.Add(2*rejectionPause)) // where one is that is refused still
	for i := range 10 {
		note(authz.Denied, 200+i, now) // too early
	}
	if n := p.ForgottenRefusals(); n.Agents != (Forgotten{Count: 12, Standing: true}) || n.Scrapers != (Forgotten{}) {
		t.Errorf("twelve are forgotten: %+v", n)
	}
	if n := r.agents.lacks(now.Add(standingFor + time.Minute)); n.Standing {
		t.Errorf("long ago: %+v", n)
	}
}
