package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// A route that the proxy holds is withdrawn, even if it waits to be offered with
// other labels at that moment.
func TestChangedRouteIsWithdrawn(t *testing.T) {
	m, err := newMetrics(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	labelled := func(value string) map[string]*endpoint {
		e, err := newEndpoint(Target{Path: "/a", URL: "http://h/", Labels: map[string]string{"x": value}}, ways{shared: newTransport(1), idleConns: 1})
		if err != nil {
			t.Fatal(err)
		}
		return map[string]*endpoint{"/a": e}
	}
	now := time.Now()
	b := newRouteBook(slog.New(slog.DiscardHandler), m)
	b.want(labelled("1"))
	b.next(now)
	if err := b.answered([]*tunnelv1.RouteAnswer{{Path: "/a", Code: tunnelv1.RouteAnswer_ACCEPTED}}, now); err != nil {
		t.Fatal(err)
	}
	b.want(labelled("2"))
	b.want(nil)
	if paths := b.next(now).GetWithdraw().GetPaths(); len(paths) != 1 || paths[0] != "/a" {
		t.Errorf("withdrawn: %q", paths)
	}
}

// A route that the proxy refused and that is not wanted any more is withdrawn: the
// proxy would go on to tell its operator that it is refused.
func TestRefusedRouteIsWithdrawn(t *testing.T) {
	m, err := newMetrics(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEndpoint(Target{Path: "/a", URL: "http://h/"}, ways{shared: newTransport(1), idleConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	b := newRouteBook(slog.New(slog.DiscardHandler), m)
	b.want(map[string]*endpoint{"/a": e})
	b.next(now)
	if err := b.answered([]*tunnelv1.RouteAnswer{{Path: "/a", Code: tunnelv1.RouteAnswer_DENIED}}, now); err != nil {
		t.Fatal(err)
	}
	b.want(nil)
	if paths := b.next(now).GetWithdraw().GetPaths(); len(paths) != 1 || paths[0] != "/a" {
		t.Errorf("withdrawn: %q", paths)
	}
}

// What no proxy has heard of is not withdrawn.
func TestUnheardRouteIsNotWithdrawn(t *testing.T) {
	m, err := newMetrics(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEndpoint(Target{Path: "/a", URL: "http://h/"}, ways{shared: newTransport(1), idleConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	b := newRouteBook(slog.New(slog.DiscardHandler), m)
	b.want(map[string]*endpoint{"/a": e})
	b.want(nil)
	if message := b.next(time.Now()); message != nil {
		t.Errorf("told: %v", message)
	}
}

// A route that is taken away after it was accepted, but before the agent has heard
// of that, is offered again: the acceptance that comes then is older.
func TestRevokedBeforeAccepted(t *testing.T) {
	m, err := newMetrics(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEndpoint(Target{Path: "/a", URL: "http://h/"}, ways{shared: newTransport(1), idleConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	b := newRouteBook(slog.New(slog.DiscardHandler), m)
	b.want(map[string]*endpoint{"/a": e})
	b.next(now)
	b.revoked([]*tunnelv1.RouteAnswer{{Path: "/a", Code: tunnelv1.RouteAnswer_DENIED}}, now)
	if err := b.answered([]*tunnelv1.RouteAnswer{{Path: "/a", Code: tunnelv1.RouteAnswer_ACCEPTED}}, now); err != nil {
		t.Fatal(err)
	}
	if routes := b.next(now).GetRegister().GetRoutes(); len(routes) != 1 || routes[0].GetPath() != "/a" {
		t.Errorf("offered: %v", routes)
	}
}

// However often a proxy says that the policy has changed, and whatever it answers then,
// routes are offered again once a second and the log grows by some lines a minute.
func TestProxyDoesNotFillTheLog(t *testing.T) {
	m, err := newMetrics(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	endpoints := make(map[string]*endpoint)
	for i := range 100 {
		path := fmt.Sprint("/", i)
		if endpoints[path], err = newEndpoint(Target{Path: path, URL: "http://h/"}, ways{shared: newTransport(1), idleConns: 1}); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	b := newRouteBook(slog.New(slog.NewTextHandler(&log, nil)), m)
	b.want(endpoints)
	began, offers := time.Now(), 0
	for now := began; now.Sub(began) < 90*time.Second; now = now.Add(10 * time.Millisecond) {
		for message := b.next(now); message != nil; message = b.next(now) {
			offers++
			var answers []*tunnelv1.RouteAnswer
			for _, r := range message.GetRegister().GetRoutes() {
				answers = append(answers, &tunnelv1.RouteAnswer{Path: r.GetPath(), Code: tunnelv1.RouteAnswer_DENIED, Reasons: []string{fmt.Sprint(offers)}})
			}
			if err := b.answered(answers, now); err != nil {
				t.Fatal(err)
			}
		}
		b.policyChanged(now)
		b.policyChanged(now)
	}
	b.forget()
	if offers < 80 || offers > 91 {
		t.Errorf("offered %d times in 90 s", offers)
	}
	if lines := strings.Count(log.String(), "\n"); lines < rationLines || lines > 2*rationLines+2 {
		t.Errorf("%d lines", lines)
	}
	if n := strings.Count(log.String(), "lines_left_out="); n != 2 {
		t.Errorf("%d lines tell of those that were left out", n)
	}
}
