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
