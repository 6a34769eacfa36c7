package agent_test

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	"github.com/seed-951114d4/sallyport/agent"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// bubble runs a test with a clock of its own and a network inside the process.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	if fips140.Enabled() {
		t.Skip("Go's source of entropy for FIPS 140 needs a clock that runs, and this test stops it")
	}
	synctest.Test(t, test)
}

var someTarget = agent.Target{Path: "/a", URL: "http://127.0.0.1:1/metrics"}

func TestSessionBegins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		target := agent.Target{
			Path: "/team-a/node", URL: "https://node.example:9100/metrics?x=1", Labels: map[string]string{"zone": "eu"},
		}
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{target, {Path: "/b", URL: "http://[::1]"}}, configure: func(c *agent.Config) {
			c.Software = "1.2.3"
		}})
		session := r.session(t)
		if h := session.hello; h.GetProtocol() != 1 || h.GetAgentName() != "test" || h.GetSoftware() != "1.2.3" || h.GetMaxLanes() != 8 || !h.GetKeepsHeaders() {
			t.Errorf("hello = %v", h)
		}
		want := &tunnelv1.Register{Routes: []*tunnelv1.Route{
			{Path: "/b", Target: &tunnelv1.Target{Scheme: "http", Host: "::1", Port: 80, Path: "/"}},
			{Path: "/team-a/node", Labels: map[string]string{"zone": "eu"}, Target: &tunnelv1.Target{Scheme: "https", Host: "node.example", Port: 9100, Path: "/metrics"}},
		}}
		if got := <-session.registered; !proto.Equal(got, want) {
			t.Errorf("registered %v, want %v", got, want)
		}
		synctest.Wait()
		if err := r.agent.Ready(); err != nil {
			t.Errorf("Ready() = %v", err)
		}
		if len(session.lanes) != 1 {
			t.Errorf("%d lanes at the start", len(session.lanes))
		}
		for name, want := range map[string]float64{"sessions": 1, "lanes": 1, "targets": 2} {
			if got := r.metric(t, "sallyport_agent_"+name, ""); got != want {
				t.Errorf("%s = %v, want %v", name, got, want)
			}
		}
		if got := r.metric(t, "sallyport_agent_routes", "accepted"); got != 2 {
			t.Errorf("accepted routes = %v", got)
		}
		r.cancel()
		if err := <-r.ran; err != nil {
			t.Errorf("Run() = %v", err)
		}
		for _, gone := range []string{"sessions", "lanes"} {
			if got := r.metric(t, "sallyport_agent_"+gone, ""); got != 0 {
				t.Errorf("%s = %v at the end", gone, got)
			}
		}
		for _, state := range []string{"accepted", "offered", "refused"} {
			if got := r.metric(t, "sallyport_agent_routes", state); got != 0 {
				t.Errorf("%s routes = %v at the end", state, got)
			}
		}
		if err := r.agent.Run(t.Context()); err == nil {
			t.Error("the agent ran twice")
		}
		if err := r.agent.Ready(); err == nil {
			t.Error("a stopped agent is ready")
		}
	})
}

func TestSessionsToEveryProxyAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		realm := newRealm(t)
		listeners := map[string]*pipeListener{}
		var proxies []*fakeProxy
		cfg := agent.Config{Targets: agent.Targets{someTarget}, MaxConcurrentScrapes: 1, MaxResponseBytes: 1}
		for i := range 3 {
			pipe := newPipeListener()
			addr := fmt.Sprintf("proxy-%d:50051", i)
			listeners[addr] = pipe
			cfg.ProxyAddrs = append(cfg.ProxyAddrs, addr)
			if i > 0 {
				proxies = append(proxies, startProxy(t, realm, pipe, nil))
			} // the first accepts no connection
		}
		a, err := agent.New(cfg, agent.Parts{Identity: realm.agent, ProxyID: usualProxy})
		if err != nil {
			t.Fatal(err)
		}
		agent.SetDial(a, func(ctx context.Context, network, addr string) (net.Conn, error) {
			return listeners[addr].dial(ctx, network, addr)
		})
		if a.Ready() == nil {
			t.Error("ready before it ran")
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- a.Run(ctx) }()
		for _, p := range proxies {
			session := receive(t, p.sessions, "a session")
			<-session.registered
			<-session.lanes
		}
		synctest.Wait()
		if err := a.Ready(); err != nil {
			t.Errorf("Ready() = %v with two of three", err)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

func TestRoutesAreOfferedInBatches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var targets agent.Targets
		for i := range 400 {
			target := agent.Target{Path: fmt.Sprintf("/t/%03d", i), URL: "http://127.0.0.1:1"}
			if i < 20 { // three of these fill a message
				target.Labels = map[string]string{}
				for j := range 14 {
					target.Labels[fmt.Sprintf("label_%d", j)] = strings.Repeat("v", 500)
				}
			}
			targets = append(targets, target)
		}
		r := startRig(t, rigOptions{pipe: true, targets: targets})
		session := r.session(t)
		seen := map[string]bool{}
		for len(seen) < len(targets) {
			msg := receive(t, session.registered, "a registration")
			if n := len(msg.GetRoutes()); n > 100 || n == 0 {
				t.Errorf("a batch of %d", n)
			}
			if size := proto.Size(msg); size > 48<<10 {
				t.Errorf("a batch of %d bytes", size)
			}
			for _, route := range msg.GetRoutes() {
				if seen[route.GetPath()] {
					t.Errorf("%s was offered twice", route.GetPath())
				}
				seen[route.GetPath()] = true
			}
		}
		synctest.Wait()
		if got := r.metric(t, "sallyport_agent_routes", "accepted"); got != 400 {
			t.Errorf("accepted routes = %v", got)
		}
	})
}

func TestRefusedRoutesAreOfferedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var allow atomic.Bool
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget, {Path: "/b", URL: "http://127.0.0.1:1"}}, proxy: func(p *fakeProxy) {
			p.answer = func(route *tunnelv1.Route) *tunnelv1.RouteAnswer {
				if route.GetPath() == "/b" || allow.Load() {
					return &tunnelv1.RouteAnswer{Code: tunnelv1.RouteAnswer_ACCEPTED}
				}
				return &tunnelv1.RouteAnswer{Code: tunnelv1.RouteAnswer_DENIED, Reasons: []string{"not\nyours", strings.Repeat("x", 999)}, DecisionId: "d\x1b[31m1"}
			}
		}})
		session := r.session(t)
		<-session.registered
		synctest.Wait()
		if err := r.agent.Ready(); err != nil {
			t.Errorf("Ready() = %v with a route refused", err)
		}
		log := r.log.String()
		if !regexp.MustCompile(`level=WARN msg="route refused.*route=/a code=DENIED reasons="not\?yours; x{200}\.\.\." decision="?d\?\[31m1"? after=3\ds`).MatchString(log) {
			t.Errorf("the log does not tell the refusal: %s", log)
		}
		// 30 s, doubling to 5 minutes, and up to a quarter more.
		for _, wait := range []time.Duration{30, 60, 120, 240, 300, 300} {
			begun := time.Now()
			if msg := <-session.registered; len(msg.GetRoutes()) != 1 || msg.GetRoutes()[0].GetPath() != "/a" {
				t.Errorf("offered again: %v", msg)
			}
			wait *= time.Second
			if waited := time.Since(begun); waited < wait-time.Second || waited > wait*5/4+time.Second {
				t.Errorf("waited %v instead of %v", waited, wait)
			}
		}
		synctest.Wait()
		if n := strings.Count(r.log.String(), `level=WARN msg="route refused`); n != 1 {
			t.Errorf("the same refusal was told %d times", n)
		}
		allow.Store(true)
		<-session.registered
		synctest.Wait()
		if got := r.metric(t, "sallyport_agent_routes", "accepted"); got != 2 {
			t.Errorf("accepted routes = %v", got)
		}
		time.Sleep(time.Hour)
		if len(session.registered) != 0 {
			t.Error("accepted routes are offered again")
		}
	})
}

func TestRevokedRoutesAreOfferedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}})
		session := r.session(t)
		<-session.registered
		synctest.Wait()
		session.send(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Revoke{Revoke: &tunnelv1.Revoke{Routes: []*tunnelv1.RouteAnswer{
			{Path: "/unknown", Code: tunnelv1.RouteAnswer_DENIED}, nil,
			{Path: "/a", Code: tunnelv1.RouteAnswer_OWNED, Reasons: []string{"moved"}},
			{Path: "/a", Code: tunnelv1.RouteAnswer_OWNED},
		}}}})
		synctest.Wait()
		if got := r.metric(t, "sallyport_agent_routes", "refused"); got != 1 {
			t.Errorf("refused routes = %v", got)
		}
		begun := time.Now()
		<-session.registered
		if waited := time.Since(begun); waited < 29*time.Second || waited > 38*time.Second {
			t.Errorf("offered again after %v", waited)
		}
		synctest.Wait()
		if got := r.metric(t, "sallyport_agent_routes", "accepted"); got != 1 {
			t.Errorf("accepted routes = %v", got)
		}
	})
}

func TestLanesFollowTheProxysWish(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}})
		session := r.session(t)
		open := func(want int) {
			t.Helper()
			synctest.Wait()
			if got := r.metric(t, "sallyport_agent_lanes", ""); got != float64(want) {
				t.Errorf("%v lanes, want %d", got, want)
			}
		}
		open(1)
		session.wantLanes(3)
		open(3)
		session.wantLanes(2) // closes none
		open(3)
		lane := <-session.lanes
		lane.end <- nil
		open(2)
		lane = <-session.lanes
		time.Sleep(time.Minute) // long enough to have been a good lane
		lane.end <- nil
		open(1)
		time.Sleep(time.Second)
		open(2) // one in its place
		lane = <-session.lanes
		lane.end <- nil // ended just before the proxy says that it wants no other
		open(1)
		session.wantLanes(1)
		time.Sleep(time.Second)
		open(1)
		session.wantLanes(1 << 31)
		open(8)
		session.wantLanes(0)
		open(8)
		for range 8 {
			lane := <-session.lanes
			select {
			case <-lane.done:
			default:
				lane.end <- nil
			}
		}
		synctest.Wait()
		for len(session.lanes) > 0 {
			(<-session.lanes).end <- nil
		}
		open(0)
		session.wantLanes(1)
		open(1)
	})
}

// A lane that the proxy ends at once is not opened again in a loop.
func TestLanesThatDoNotWorkAreOpenedSlowly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}})
		session := r.session(t)
		lanes := 0
		deadline := time.After(time.Minute)
		for ended := false; !ended; {
			select {
			case lane := <-session.lanes:
				lane.end <- errors.New("no")
				lanes++
			case <-deadline:
				ended = true
			}
		}
		if lanes < 8 || lanes > 100 {
			t.Errorf("%d lanes in a minute", lanes)
		}
	})
}

func TestProxyThatBreaksTheContract(t *testing.T) {
	registered := func(paths ...string) *tunnelv1.ProxyMessage {
		msg := &tunnelv1.Registered{}
		for _, path := range paths {
			msg.Answers = append(msg.Answers, &tunnelv1.RouteAnswer{Path: path, Code: tunnelv1.RouteAnswer_ACCEPTED})
		}
		return &tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Registered{Registered: msg}}
	}
	welcome := &tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Welcome{Welcome: &tunnelv1.Welcome{}}}
	for name, tt := range map[string]struct {
		msg *tunnelv1.ProxyMessage
		log string
	}{
		"second welcome":  {welcome, "a second welcome"},
		"too few answers": {registered("/a"), "answered in part"},
		"other answers":   {registered("/b", "/a"), "out of order"},
		"nil answers":     {&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Registered{}}, "answered in part"},
		"no answer":       {nil, "did not answer a registration in time"},
		"unknown message": {&tunnelv1.ProxyMessage{}, "did not answer a registration in time"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget, {Path: "/b", URL: "http://127.0.0.1:1"}}, proxy: func(p *fakeProxy) { p.silent = true }})
				session := r.session(t)
				<-session.registered
				if r.agent.Ready() == nil {
					t.Error("ready without an answer")
				}
				if tt.msg != nil {
					session.send(tt.msg)
				}
				<-session.done
				r.session(t) // another attempt
				if !strings.Contains(r.log.String(), tt.log) {
					t.Errorf("the log does not say %q: %s", tt.log, r.log)
				}
			})
		})
	}
}

func TestUnsolicitedAnswerEndsTheSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}})
		session := r.session(t)
		<-session.registered
		synctest.Wait()
		session.send(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Registered{}})
		<-session.done
		r.session(t)
	})
}

func TestProxyThatDoesNotWelcome(t *testing.T) {
	for name, tt := range map[string]struct {
		greet func(*tunnelv1.Hello) *tunnelv1.ProxyMessage
		log   string
	}{
		"silent":  {func(*tunnelv1.Hello) *tunnelv1.ProxyMessage { return nil }, "did not welcome the agent in time"},
		"strange": {func(*tunnelv1.Hello) *tunnelv1.ProxyMessage { return &tunnelv1.ProxyMessage{} }, "something other than a welcome"},
		"goodbye": {func(*tunnelv1.Hello) *tunnelv1.ProxyMessage {
			return &tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Goodbye{Goodbye: &tunnelv1.Goodbye{Code: tunnelv1.Goodbye_LIMIT, Reason: "too\nmany"}}}
		}, `LIMIT: too?many" hint="the proxy has as many sessions as it takes`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var hellos atomic.Int32
				r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}, proxy: func(p *fakeProxy) {
					p.greet = func(h *tunnelv1.Hello) *tunnelv1.ProxyMessage { hellos.Add(1); return tt.greet(h) }
				}})
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if n := hellos.Load(); n < 5 || n > 500 {
					t.Errorf("%d attempts in five minutes", n)
				}
				log := r.log.String()
				if strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, tt.log) {
					t.Errorf("the log does not say %q once: %s", tt.log, log)
				}
				if err := r.agent.Ready(); err == nil || strings.Contains(err.Error(), "\n") {
					t.Errorf("Ready() = %v", err)
				}
				if got := r.metric(t, "sallyport_agent_connects_total", "refused"); got < 5 {
					t.Errorf("refused connects = %v", got)
				}
			})
		})
	}
}

func TestGoodbyeOfAProxy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}})
		session := r.session(t)
		<-session.registered
		session.send(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Drain{Drain: &tunnelv1.Drain{}}})
		synctest.Wait()
		if err := r.agent.Ready(); err == nil || !strings.Contains(err.Error(), "draining") {
			t.Errorf("Ready() = %v", err)
		}
		session.send(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Goodbye{Goodbye: &tunnelv1.Goodbye{Code: tunnelv1.Goodbye_SHUTDOWN, Reason: "stopping"}}})
		synctest.Wait()
		session.end <- nil
		<-session.done
		r.session(t)
		if log := r.log.String(); !strings.Contains(log, "SHUTDOWN: stopping") || !strings.Contains(log, "the proxy is going away") {
			t.Errorf("log: %s", log)
		}
	})
}

// A proxy that says goodbye and stays is left.
func TestGoodbyeWithoutAnEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}})
		session := r.session(t)
		session.send(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Goodbye{Goodbye: &tunnelv1.Goodbye{}}})
		begun := time.Now()
		<-session.done
		if waited := time.Since(begun); waited > 20*time.Second {
			t.Errorf("left after %v", waited)
		}
		r.session(t)
	})
}

func TestBackoffOfADeadProxy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var attempts []time.Time
		var mu sync.Mutex
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}, dial: func(dialFunc) dialFunc {
			return func(context.Context, string, string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				attempts = append(attempts, time.Now())
				return nil, errors.New("connection refused")
			}
		}})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		// Half of 5 s is the mean wait once the ceiling is reached.
		if n := len(attempts); n < 170 || n > 340 {
			t.Errorf("%d attempts in ten minutes", n)
		}
		for i := range len(attempts) - 1 {
			ceiling := min(5*time.Second, time.Duration(250*float64(time.Millisecond)*pow(1.6, i)))
			if wait := attempts[i+1].Sub(attempts[i]); wait > ceiling+time.Millisecond {
				t.Errorf("wait %d is %v, more than %v", i, wait, ceiling)
			}
		}
		if n := strings.Count(r.log.String(), "level=WARN"); n != 1 {
			t.Errorf("told %d times", n)
		}
		if got := r.metric(t, "sallyport_agent_connects_total", "unreachable"); got != float64(len(attempts)) {
			t.Errorf("unreachable connects = %v of %d", got, len(attempts))
		}
		if err := r.agent.Ready(); err == nil || !strings.Contains(err.Error(), "localhost:50051: connecting: connection refused") {
			t.Errorf("Ready() = %v", err)
		}
	})
}

func pow(x float64, n int) float64 {
	y := 1.0
	for range min(n, 10) {
		y *= x
	}
	return y
}

// After a session that lasted, the next is there within a quarter of a second,
// whatever failed before it.
func TestBackoffIsForgottenAfterAGoodSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}, dial: func(inner dialFunc) dialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				if down.Load() {
					return nil, errors.New("connection refused")
				}
				return inner(ctx, network, addr)
			}
		}})
		time.Sleep(10 * time.Minute)
		down.Store(false)
		for range 5 {
			session := r.session(t)
			time.Sleep(5 * time.Second)
			session.end <- nil
			begun := time.Now()
			session = r.session(t)
			if waited := time.Since(begun); waited > 250*time.Millisecond {
				t.Errorf("back after %v", waited)
			}
			session.end <- nil
		}
	})
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// silentConn stops to deliver in both directions and tells nobody.
type silentConn struct {
	net.Conn
	silent *atomic.Bool
}

func (c *silentConn) Write(p []byte) (int, error) {
	if c.silent.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *silentConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.silent.Load() {
			return n, err
		}
	}
}

func TestSilentNetworkIsNoticedWithin30Seconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var silent atomic.Bool
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}, dial: func(inner dialFunc) dialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := inner(ctx, network, addr)
				if err != nil || silent.Load() {
					silent.Store(false)
					return conn, err
				}
				return &silentConn{Conn: conn, silent: &silent}, nil
			}
		}})
		session := r.session(t)
		<-session.registered
		time.Sleep(time.Hour) // idle for long: pings keep it
		if len(r.proxy.sessions) != 0 {
			t.Fatal("an idle session ended")
		}
		silent.Store(true)
		begun := time.Now()
		r.session(t)
		if waited := time.Since(begun); waited > 30*time.Second {
			t.Errorf("back after %v", waited)
		}
	})
}

// A proxy that is killed and comes back has the agent and all its routes again
// within seconds.
func TestProxyThatComesBack(t *testing.T) {
	t.Parallel()
	r := startRig(t, rigOptions{targets: agent.Targets{someTarget, {Path: "/b", URL: "http://127.0.0.1:1"}}})
	session := r.session(t)
	receive(t, session.registered, "the routes")
	r.proxy.server.Stop()
	receive(t, session.done, "the end of the session")
	inner, err := net.Listen("tcp", r.proxy.addr)
	if err != nil {
		t.Fatal(err)
	}
	again := startProxy(t, r.realm, inner, nil)
	session = receive(t, again.sessions, "a session with the new proxy")
	if routes := receive(t, session.registered, "the routes").GetRoutes(); len(routes) != 2 {
		t.Errorf("registered again: %v", routes)
	}
	receive(t, session.lanes, "a lane")
}

// In files mode without an ID the host that is dialled is the name to prove.
func TestProxyIsVerifiedByItsName(t *testing.T) {
	t.Parallel()
	realm := newRealm(t)
	for host, ok := range map[string]bool{"localhost": true, "other.example": false} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			proxy := startProxy(t, realm, inner, nil)
			r := startRig(t, rigOptions{
				targets: agent.Targets{someTarget},
				realm:   realm, proxyID: new(spiffeid.ID),
				configure: func(c *agent.Config) {
					c.ProxyAddrs = []string{host + ":50051"}
				},
				dial: func(inner dialFunc) dialFunc {
					return func(ctx context.Context, network, _ string) (net.Conn, error) { return inner(ctx, network, proxy.addr) }
				},
			})
			if ok {
				receive(t, proxy.sessions, "a session")
				return
			}
			for r.metric(t, "sallyport_agent_connects_total", "handshake") == 0 {
				time.Sleep(10 * time.Millisecond) // nothing signals a count
			}
			if len(proxy.sessions) != 0 {
				t.Error("a proxy of another name was greeted")
			}
		})
	}
}

// What is withdrawn is scraped no more, whatever a proxy says.
func TestWithdrawnRouteIsNotScraped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, session, file := targetsRig(t, "targets: [{path: /a, url: http://x}]")
		writeFile(t, filepath.Dir(file), "targets.yaml", nil)
		<-session.withdrawn
		if a := scrape(t, <-session.lanes, &tunnelv1.ScrapeRequest{Path: "/a"}); a.end.GetCode() != tunnelv1.End_NOT_FOUND {
			t.Errorf("end = %v", a.end)
		}
	})
}
