package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// turns is a policy whose answers a test writes down, and which it replaces at any
// moment of a decision.
type turns struct {
	register func(authz.RegisterInput) authz.Decision
	scrape   func(authz.ScrapeInput) authz.Decision

	mu       sync.Mutex
	version  int
	replaced chan struct{}
}

func (t *turns) replace() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.version++
	close(t.replaced)
	t.replaced = make(chan struct{})
}

func (t *turns) Revision() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprint(t.version)
}

func (t *turns) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.replaced
}

func (t *turns) Session(context.Context, authz.SessionInput) authz.Decision {
	return authz.Decision{Allow: true, Revision: t.Revision()}
}

func (t *turns) Register(_ context.Context, in authz.RegisterInput) authz.Decision {
	revision := t.Revision()
	d := t.register(in)
	d.Revision = revision
	return d
}

func (t *turns) Scrape(_ context.Context, in authz.ScrapeInput) authz.Decision {
	revision := t.Revision()
	d := t.scrape(in)
	d.Revision = revision
	return d
}

// newStaged is a proxy without a network, that has one session.
func newStaged(t testing.TB) (*tunnel, *turns, *session) {
	t.Helper()
	policy := &turns{
		replaced: make(chan struct{}),
		register: func(authz.RegisterInput) authz.Decision { return authz.Decision{Allow: true} },
		scrape:   func(authz.ScrapeInput) authz.Decision { return authz.Decision{Allow: true} },
	}
	cfg := Config{ClientAuth: ClientAuthRequire, MaxResponse: 1 << 20, MaxScrapeTimeout: time.Minute, MaxSessions: 10, MaxSessionsPerIdentity: 10, MaxRoutesPerSession: 10, Retention: time.Hour}
	p, err := New(cfg, Parts{
		Policy: policy, Audit: (*authz.Audit)(nil), Self: func() authz.ProxyInput { return authz.ProxyInput{} },
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{
		id: "s", routes: make(map[string]*grant),
		outbox: newOutbox(func(*tunnelv1.ProxyMessage) error { return nil }),
	}
	s.standing.peer.Store(&authn.Peer{})
	s.lanes = newPool(1, func(int) {})
	if err := p.sessions.admit(s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.outbox.close)
	return &tunnel{Proxy: p, admissions: newDesk(1), offers: newDesk(1)}, policy, s
}

func claimOf(path string) *tunnelv1.Route {
	return &tunnelv1.Route{Path: path, Labels: map[string]string{"seen": "public"}, Target: &tunnelv1.Target{Scheme: "http", Host: "h", Port: 1}}
}

// A scrape rests on nothing that an older policy said of its route: it waits while all
// is judged again.
func TestScrapeWhileJudging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, policy, s := newStaged(t)
		p.registerOne(t.Context(), s, p.subject(s), claimOf("/a"))
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { p.followPolicy(ctx) })
		defer group.Wait()
		defer stop()

		release := make(chan struct{})
		policy.register = func(authz.RegisterInput) authz.Decision {
			<-release
			return authz.Decision{Allow: true, Labels: map[string]string{"seen": "private"}, Limits: authz.Limits{MaxBodyBytes: 1}}
		}
		var seen []string
		policy.scrape = func(in authz.ScrapeInput) authz.Decision {
			seen = append(seen, in.Route.Labels["seen"])
			return authz.Decision{Allow: true}
		}
		policy.replace()
		fl := p.flights.enter(t.Context(), "")
		defer p.flights.leave(fl)
		scrape := func(timeout time.Duration) (permit, *failure) {
			return scrapes{p.Proxy}.allowed(fl, authn.Identity{}, "", request{path: "/a", timeout: timeout})
		}
		if _, failed := scrape(time.Second); failed == nil || failed.outcome != Busy {
			t.Errorf("while nothing is judged: %v", failed)
		}
		time.AfterFunc(time.Second, func() { close(release) })
		permit, failed := scrape(time.Minute)
		if failed != nil || permit.found.grants[0].limits.MaxBodyBytes != 1 || fmt.Sprint(seen) != "[private]" {
			t.Errorf("%v, decided by the labels %q", failed, seen)
		}
	})
}

// A scrape that is decided while the policy changes is decided again.
func TestScrapeDecidedWhileJudging(t *testing.T) {
	p, policy, s := newStaged(t)
	p.registerOne(t.Context(), s, p.subject(s), claimOf("/a"))
	policy.register = func(authz.RegisterInput) authz.Decision {
		return authz.Decision{Allow: true, Labels: map[string]string{"seen": "private"}}
	}
	var once sync.Once
	policy.scrape = func(in authz.ScrapeInput) authz.Decision {
		once.Do(func() { policy.replace(); p.judgeAgain(t.Context()) })
		return authz.Decision{Allow: in.Route.Labels["seen"] == "public"}
	}
	fl := p.flights.enter(t.Context(), "")
	defer p.flights.leave(fl)
	if permit, failed := (scrapes{p.Proxy}).allowed(fl, authn.Identity{}, "", request{path: "/a", timeout: time.Second}); failed == nil {
		t.Errorf("allowed by the labels %v", permit.found.labels())
	}
}

// What a policy allowed that was replaced meanwhile is never served.
func TestRegistrationDecidedByAnOldPolicy(t *testing.T) {
	p, policy, s := newStaged(t)
	allowed := 0
	fl := p.flights.enter(t.Context(), "")
	defer p.flights.leave(fl)
	policy.register = func(authz.RegisterInput) authz.Decision {
		if policy.Revision() == "0" {
			policy.replace() // and all is judged again, before the route is held
			p.judgeAgain(t.Context())
			return authz.Decision{Allow: true}
		}
		permit, failed := scrapes{p.Proxy}.allowed(fl, authn.Identity{}, "", request{path: "/a", timeout: 100 * time.Millisecond})
		if failed == nil && len(permit.found.grants) > 0 {
			allowed++
		}
		return authz.Decision{}
	}
	if code := p.registerOne(t.Context(), s, p.subject(s), claimOf("/a")).GetCode(); code != tunnelv1.RouteAnswer_DENIED {
		t.Errorf("the answer is %v", code)
	}
	if allowed > 0 && fl.ctx.Err() == nil {
		t.Error("a scrape runs on a route that the policy in force denies")
	}
}

// A policy that is late has not said no; one that always is has to.
func TestRegistrationDecidedTooLate(t *testing.T) {
	p, policy, s := newStaged(t)
	late := authz.Decision{Fault: fmt.Errorf("deciding: %w", authz.ErrLate)}
	for _, test := range []struct {
		late int
		want tunnelv1.RouteAnswer_Code
	}{{2, tunnelv1.RouteAnswer_ACCEPTED}, {1000, tunnelv1.RouteAnswer_DENIED}} {
		policy.register = func(authz.RegisterInput) authz.Decision {
			if test.late--; test.late >= 0 {
				return late
			}
			return authz.Decision{Allow: true}
		}
		if code := p.registerOne(t.Context(), s, p.subject(s), claimOf("/a")).GetCode(); code != test.want {
			t.Errorf("the answer is %v, want %v", code, test.want)
		}
	}
}

// Claims that were allowed while the older ones were judged stay.
func TestNewClaimsWhileJudging(t *testing.T) {
	p, policy, s := newStaged(t)
	p.registerOne(t.Context(), s, p.subject(s), claimOf("/a"))
	policy.replace()
	var once sync.Once
	policy.register = func(in authz.RegisterInput) authz.Decision {
		if in.Route.Labels["seen"] != "public" {
			return authz.Decision{Allow: true}
		}
		once.Do(func() {
			claim := claimOf("/a")
			claim.Labels = nil
			if code := p.registerOne(t.Context(), s, p.subject(s), claim).GetCode(); code != tunnelv1.RouteAnswer_ACCEPTED {
				t.Errorf("the new claims: %v", code)
			}
		})
		return authz.Decision{}
	}
	p.judgeAgain(t.Context())
	if _, ok := p.routes.lookup("/a"); !ok {
		t.Error("the new claims were taken away for the old ones")
	}
}

// A scrape that goes on at one identity is not kept for what may be read of another,
// which has the path by now.
func TestFlightOfAnotherOwner(t *testing.T) {
	p, policy, s := newStaged(t)
	p.registerOne(t.Context(), s, p.subject(s), claimOf("/a"))
	fl := p.flights.enter(t.Context(), "")
	defer p.flights.leave(fl)
	permit, failed := scrapes{p.Proxy}.allowed(fl, authn.Identity{}, "", request{path: "/a", timeout: time.Second})
	if failed != nil {
		t.Fatal(failed)
	}
	p.flights.carry(fl, permit.found.grants[0])
	p.withdraw(s, []string{"/a"})
	other := &session{id: "o", identity: authn.AnonymousIdentity(), routes: make(map[string]*grant), outbox: s.outbox, lanes: s.lanes}
	other.standing.peer.Store(&authn.Peer{Identity: other.identity})
	p.registerOne(t.Context(), other, p.subject(other), claimOf("/a"))
	policy.replace()
	p.judgeAgain(t.Context())
	if fl.ctx.Err() == nil {
		t.Error("the scrape was judged by the other's route")
	}
}

// A route does not count against itself: what a policy allowed by the number of routes
// it still allows when the same is asked again.
func TestJudgingByTheNumberOfRoutes(t *testing.T) {
	p, policy, s := newStaged(t)
	policy.register = func(in authz.RegisterInput) authz.Decision {
		return authz.Decision{Allow: in.State.AgentRoutes < 2 && in.State.TotalRoutes < 2}
	}
	var codes []tunnelv1.RouteAnswer_Code
	for _, path := range []string{"/a", "/b", "/c", "/b"} {
		codes = append(codes, p.registerOne(t.Context(), s, p.subject(s), claimOf(path)).GetCode())
	}
	if fmt.Sprint(codes) != "[ACCEPTED ACCEPTED DENIED ACCEPTED]" {
		t.Errorf("offered: %v", codes)
	}
	policy.replace()
	p.judgeAgain(t.Context())
	if n := len(p.routes.grantsOf(s)); n != 2 {
		t.Errorf("%d of 2 routes are left", n)
	}
}

// A session of many routes is judged in parts at once, and yet each route by what is left
// of those before it.
func TestJudgingManyByTheNumberOfRoutes(t *testing.T) {
	p, policy, s := newStaged(t)
	const held, may = 300, 40
	p.routes.perSession = held
	for i := range held {
		p.registerOne(t.Context(), s, p.subject(s), claimOf(fmt.Sprintf("/%03d", i)))
	}
	policy.register = func(in authz.RegisterInput) authz.Decision {
		return authz.Decision{Allow: in.State.AgentRoutes < may}
	}
	policy.replace()
	p.judgeAgain(t.Context())
	grants := p.routes.grantsOf(s)
	if len(grants) != may || grants[0].route.path != fmt.Sprintf("/%03d", held-may) {
		t.Fatalf("%d of %d routes are left, want %d", len(grants), held, may)
	}
	// Limits keep those that are first by path.
	policy.register = func(authz.RegisterInput) authz.Decision {
		return authz.Decision{Allow: true, AnyState: true, Limits: authz.Limits{MaxRoutes: 7}}
	}
	policy.replace()
	p.judgeAgain(t.Context())
	grants = p.routes.grantsOf(s)
	if len(grants) != 7 || grants[6].route.path != fmt.Sprintf("/%03d", held-may+6) {
		t.Errorf("%d routes are left, want 7", len(grants))
	}
}

// Sessions of one identity may have other labels: a scrape is carried by none but those
// that it was allowed by.
func TestScrapeOfOtherLabels(t *testing.T) {
	p, policy, us := newStaged(t)
	policy.register = func(in authz.RegisterInput) authz.Decision {
		return authz.Decision{Allow: true, Labels: map[string]string{"zone": in.Agent.RemoteIP}}
	}
	policy.scrape = func(in authz.ScrapeInput) authz.Decision {
		return authz.Decision{Allow: in.Route.Labels["zone"] == "eu"}
	}
	eu := &session{id: "eu", seq: 9, routes: make(map[string]*grant), outbox: us.outbox, lanes: newPool(1, func(int) {})}
	eu.standing.peer.Store(us.peer())
	us.input.RemoteIP, eu.input.RemoteIP = "us", "eu"
	p.registerOne(t.Context(), us, p.subject(us), claimOf("/a"))
	p.registerOne(t.Context(), eu, p.subject(eu), claimOf("/a"))
	eu.lanes.waiting.PushBack(nil) // so that the other is less busy
	fl := p.flights.enter(t.Context(), "")
	defer p.flights.leave(fl)
	permit, failed := scrapes{p.Proxy}.allowed(fl, authn.Identity{}, "", request{path: "/a", timeout: time.Second})
	if failed != nil {
		t.Fatal(failed)
	}
	g := pick(permit.found.grants)
	if g.session != eu {
		t.Errorf("allowed for eu, carried by %s", g.session.input.RemoteIP)
	}
	p.flights.carry(fl, g)
	p.registerOne(t.Context(), us, p.subject(us), claimOf("/a"))
	p.judgeAgain(t.Context())
	if fl.ctx.Err() != nil {
		t.Error("ended by the labels of the other session")
	}
}
