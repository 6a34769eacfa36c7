package proxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
	"github.com/seed-951114d4/sallyport/testenv"
)

// An agent does not decide how much the proxy logs: of what it offers and is refused,
// drains and withdraws, some lines are written, and every answer is given.
func TestLogIsNotTheAgents(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	a := newRawAgent(t, w, "team-a/node")
	a.begin()
	var offers []*tunnelv1.Route
	for i := range 500 {
		offers = append(offers, &tunnelv1.Route{}, routeOffer("/team-b/x"), routeOffer(fmt.Sprint("/team-a/node/", i)))
	}
	if answers := a.offer(offers...); len(answers) != len(offers) {
		t.Fatal(len(answers), "answers")
	}
	for range 200 {
		a.send(&tunnelv1.AgentMessage{Kind: &tunnelv1.AgentMessage_Drain{Drain: &tunnelv1.Drain{}}})
	}
	withdraw := &tunnelv1.Withdraw{}
	for _, r := range offers {
		withdraw.Paths = append(withdraw.Paths, r.GetPath())
	}
	a.send(&tunnelv1.AgentMessage{Kind: &tunnelv1.AgentMessage_Withdraw{Withdraw: withdraw}})
	testenv.WaitMetric(w, w.Proxy, 0, "sallyport_proxy_routes", "state", "served")
	lines := 0
	for line := range strings.Lines(w.Logs.String()) {
		if strings.Contains(line, "daemon=proxy") && !strings.Contains(line, "level=DEBUG") {
			lines++
		}
	}
	if lines < 100 || lines > 150 {
		t.Errorf("%d lines about one agent", lines)
	}
	if n := strings.Count(w.Logs.String(), "session draining"); n != 1 {
		t.Errorf("%d lines of one drain", n)
	}
	if n := len(w.Audit.Events("register", authz.Registered)); n != 500 {
		t.Errorf("the audit log has %d of 500 registrations", n)
	}
}
