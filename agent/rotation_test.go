package agent_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// lived is the request of a certificate with that life.
func lived(request pki.Request, life time.Duration) pki.Request {
	request.NotBefore, request.NotAfter = time.Now().Add(-time.Second), time.Now().Add(life)
	return request
}

// startRotating starts an agent that follows its files.
func startRotating(t *testing.T, opts rigOptions) *rig {
	t.Helper()
	if opts.realm == nil {
		opts.realm = newRealm(t)
	}
	opts.realm.agent.keep(t)
	opts.pipe = true
	if opts.targets == nil {
		opts.targets = agent.Targets{someTarget}
	}
	return startRig(t, opts)
}

// alive says whether a session goes on untouched.
func (s *fakeSession) alive() bool {
	select {
	case <-s.drained:
		return false
	case <-s.done:
		return false
	default:
		return true
	}
}

func accepted() *tunnelv1.RouteAnswer {
	return &tunnelv1.RouteAnswer{Code: tunnelv1.RouteAnswer_ACCEPTED}
}

func TestRotationRegistersBeforeItDrains(t *testing.T) {
	bubble(t, func(t *testing.T) {
		decide := make(chan struct{}, 1)
		decide <- struct{}{}
		r := startRotating(t, rigOptions{proxy: func(p *fakeProxy) {
			p.answer = func(*tunnelv1.Route) *tunnelv1.RouteAnswer { <-decide; return accepted() }
		}})
		old := r.session(t)
		synctest.Wait()
		for range 3 {
			r.realm.agent.issue(t, r.realm.ca, agentRequest)
			fresh := r.session(t)
			<-fresh.registered
			time.Sleep(20 * time.Second) // the proxy takes its time to decide
			if !old.alive() {
				t.Fatal("the old session is drained before the new one has its routes")
			}
			if err := r.agent.Ready(); err != nil {
				t.Errorf("Ready() = %v in a rotation", err)
			}
			if got := r.metric(t, "sallyport_agent_sessions", ""); got != 2 {
				t.Errorf("%v sessions in a rotation", got)
			}
			decide <- struct{}{}
			<-old.drained
			<-old.done
			synctest.Wait()
			if !fresh.alive() || len(fresh.lanes) == 0 {
				t.Error("the new session is not in use")
			}
			if err := r.agent.Ready(); err != nil {
				t.Errorf("Ready() = %v after a rotation", err)
			}
			old = fresh
		}
		if got := r.metric(t, "sallyport_agent_rotations_total", ""); got != 3 {
			t.Errorf("%v rotations", got)
		}
		if got := r.metric(t, "sallyport_agent_sessions", ""); got != 1 {
			t.Errorf("%v sessions after all", got)
		}
		if log := r.log.String(); strings.Contains(log, "level=WARN") {
			t.Errorf("a warning: %s", log)
		}
	})
}

// What changes for others than ourselves is no reason for a new session.
func TestAnchorsAloneDoNotRotate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRotating(t, rigOptions{})
		session := r.session(t)
		other := newRealm(t)
		r.realm.agent.trust(t, r.realm.ca, other.ca)
		time.Sleep(time.Minute)
		if !session.alive() || len(r.proxy.sessions) != 0 {
			t.Error("the session was touched")
		}
	})
}

func TestRotationWaitsForScrapes(t *testing.T) {
	t.Parallel()
	url, asked, open := gatedTarget(t)
	realm := newRealm(t)
	realm.agent = realm.source(t, lived(agentRequest, time.Minute), authn.Client, realm.ca)
	realm.agent.keep(t)
	r := startRig(t, rigOptions{realm: realm, targets: agent.Targets{{Path: "/a", URL: url}}, proxy: lingering})
	old := r.session(t)
	lane := receive(t, old.lanes, "a lane")
	if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 60_000}); err != nil {
		t.Fatal(err)
	}
	receive(t, asked, "the target's request")
	realm.agent.issue(t, realm.ca, agentRequest)
	fresh := r.session(t)
	receive(t, old.drained, "the drain")
	other := receive(t, fresh.lanes, "a lane of the new session")
	if err := other.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 60_000}); err != nil {
		t.Fatal(err)
	}
	receive(t, asked, "the target's second request")
	close(open)
	for _, l := range []*fakeLane{lane, other} {
		if a, err := l.collect(true); err != nil || a.end.GetCode() != tunnelv1.End_COMPLETE || string(a.body) != "a 1\n" {
			t.Errorf("a scrape in the rotation: %v, %v", a, err)
		}
	}
	lane.end <- nil
	receive(t, old.done, "the end of the old session")
}

// There are two sessions at most, so one that still drains keeps the next rotation
// waiting.
func TestRotationDuringARotation(t *testing.T) {
	t.Parallel()
	url, asked, open := gatedTarget(t)
	realm := newRealm(t)
	realm.agent = realm.source(t, lived(agentRequest, time.Minute), authn.Client, realm.ca)
	realm.agent.keep(t)
	r := startRig(t, rigOptions{realm: realm, targets: agent.Targets{{Path: "/a", URL: url}}, proxy: lingering})
	first := r.session(t)
	lane := receive(t, first.lanes, "a lane")
	if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 60_000}); err != nil {
		t.Fatal(err)
	}
	receive(t, asked, "the target's request")
	realm.agent.renew(t, realm.ca, lived(agentRequest, time.Minute))
	second := r.session(t)
	receive(t, first.drained, "the first drain")
	realm.agent.renew(t, realm.ca, lived(agentRequest, time.Minute))
	if len(r.proxy.sessions) != 0 || !second.alive() {
		t.Error("the second rotation did not wait")
	}
	close(open)
	if a, err := lane.collect(true); err != nil || a.end.GetCode() != tunnelv1.End_COMPLETE {
		t.Errorf("the scrape under way: %v, %v", a, err)
	}
	lane.end <- nil
	third := r.session(t)
	select {
	case <-first.done:
	default:
		t.Error("three sessions at once")
	}
	receive(t, second.drained, "the second drain")
	receive(t, third.lanes, "a lane of the third session")
}

// But one that drains is not waited for until the one in use is of no use.
func TestRotationCutsADrainThatIsInItsWay(t *testing.T) {
	t.Parallel()
	url, asked, dropped := hangingTarget(t, "a 1\n")
	realm := newRealm(t)
	realm.agent = realm.source(t, lived(agentRequest, time.Minute), authn.Client, realm.ca)
	realm.agent.keep(t)
	r := startRig(t, rigOptions{realm: realm, targets: agent.Targets{{Path: "/a", URL: url}}, proxy: lingering})
	first := r.session(t)
	lane := receive(t, first.lanes, "a lane")
	if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 60_000}); err != nil {
		t.Fatal(err)
	}
	receive(t, asked, "the target's request")
	realm.agent.renew(t, realm.ca, lived(agentRequest, 8*time.Second))
	second := r.session(t)
	receive(t, first.drained, "the first drain")
	realm.agent.renew(t, realm.ca, agentRequest)
	begun := time.Now()
	receive(t, dropped, "the end of the scrape")
	if waited := time.Since(begun); waited < 500*time.Millisecond || waited > 7*time.Second {
		t.Errorf("waited %v", waited)
	}
	third := r.session(t)
	receive(t, second.drained, "the second drain")
	receive(t, third.lanes, "a lane of the third session")
}

// Certificates that come while a session is made are rotated to once it is there:
// the last one, not each.
func TestRotationIsToTheLatestCertificate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var hold atomic.Bool
		release := make(chan struct{})
		r := startRotating(t, rigOptions{proxy: func(p *fakeProxy) {
			p.answer = func(*tunnelv1.Route) *tunnelv1.RouteAnswer {
				if hold.Load() {
					<-release
				}
				return accepted()
			}
		}})
		first := r.session(t)
		synctest.Wait()
		hold.Store(true)
		r.realm.agent.issue(t, r.realm.ca, agentRequest)
		second := r.session(t)
		for range 3 {
			r.realm.agent.issue(t, r.realm.ca, agentRequest)
			time.Sleep(5 * time.Second)
		}
		if len(r.proxy.sessions) != 0 {
			t.Fatal("a third session")
		}
		hold.Store(false)
		close(release)
		<-first.done
		third := r.session(t)
		<-second.done
		time.Sleep(time.Minute)
		material, err := r.realm.agent.Material()
		if err != nil {
			t.Fatal(err)
		}
		peer, _ := authn.PeerFromContext(third.stream.Context())
		if !third.alive() || !peer.Chain[0].Equal(material.Certificate.Leaf) {
			t.Error("the last session is not of the latest certificate")
		}
		if n := len(r.proxy.sessions); n != 0 {
			t.Errorf("%d sessions more", n)
		}
	})
}

// A proxy that refuses the new session keeps the old one, and is asked again with
// back-off.
func TestRotationThatIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var refuse atomic.Bool
		var refused atomic.Int32
		r := startRotating(t, rigOptions{proxy: func(p *fakeProxy) {
			p.greet = func(*tunnelv1.Hello) *tunnelv1.ProxyMessage {
				if refuse.Load() {
					refused.Add(1)
					return &tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Goodbye{Goodbye: &tunnelv1.Goodbye{Code: tunnelv1.Goodbye_LIMIT, Reason: "full"}}}
				}
				return &tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Welcome{Welcome: &tunnelv1.Welcome{SessionId: "s"}}}
			}
		}})
		old := r.session(t)
		<-old.registered
		refuse.Store(true)
		r.realm.agent.issue(t, r.realm.ca, agentRequest)
		time.Sleep(10 * time.Minute)
		if n := refused.Load(); n < 100 || n > 500 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		if err := r.agent.Ready(); err != nil || !old.alive() {
			t.Errorf("the old session was given up; Ready() = %v", err)
		}
		if log := r.log.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "keeping the old one") || !strings.Contains(log, "LIMIT: full") {
			t.Errorf("log: %s", log)
		}
		refuse.Store(false)
		r.session(t)
		<-old.done
		if got := r.metric(t, "sallyport_agent_rotations_total", ""); got != 1 {
			t.Errorf("%v rotations", got)
		}
	})
}

// The old session ends while there is no new one: then it is as after any end.
func TestRotationThatLosesTheOldSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var hold atomic.Bool
		release := make(chan struct{})
		r := startRotating(t, rigOptions{proxy: func(p *fakeProxy) {
			p.answer = func(*tunnelv1.Route) *tunnelv1.RouteAnswer {
				if hold.Load() {
					<-release
				}
				return accepted()
			}
		}})
		old := r.session(t)
		<-old.registered
		synctest.Wait()
		hold.Store(true)
		r.realm.agent.issue(t, r.realm.ca, agentRequest)
		fresh := r.session(t)
		<-fresh.registered
		old.end <- errors.New("gone")
		<-old.done
		synctest.Wait()
		if err := r.agent.Ready(); err == nil || !strings.Contains(err.Error(), "waiting for the proxy's answer") {
			t.Errorf("Ready() = %v", err)
		}
		close(release)
		synctest.Wait()
		if err := r.agent.Ready(); err != nil {
			t.Errorf("Ready() = %v", err)
		}
		time.Sleep(time.Minute)
		if !fresh.alive() || len(r.proxy.sessions) != 0 {
			t.Error("the new session was not kept")
		}
	})
}

func TestStopDuringARotation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRotating(t, rigOptions{proxy: func(p *fakeProxy) { p.silent = true }})
		old := r.session(t)
		for _, answer := range (<-old.registered).GetRoutes() {
			old.send(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Registered{Registered: &tunnelv1.Registered{
				Answers: []*tunnelv1.RouteAnswer{{Path: answer.GetPath(), Code: tunnelv1.RouteAnswer_ACCEPTED}},
			}}})
		}
		synctest.Wait()
		r.realm.agent.issue(t, r.realm.ca, agentRequest)
		fresh := r.session(t)
		<-fresh.registered
		begun := time.Now()
		r.cancel()
		if err := <-r.ran; err != nil {
			t.Error(err)
		}
		<-old.drained
		<-fresh.drained
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("stopped in %v", took)
		}
	})
}

// A fleet does not rotate in one instant, and no agent too late.
func TestRotationIsSpread(t *testing.T) {
	bubble(t, func(t *testing.T) {
		realm := newRealm(t)
		r := startRotating(t, rigOptions{realm: realm})
		r.session(t)
		realm.agent.renew(t, realm.ca, lived(agentRequest, time.Hour))
		r.session(t)
		var least, most time.Duration = time.Hour, 0
		for range 30 {
			synctest.Wait()
			realm.agent.renew(t, realm.ca, lived(agentRequest, time.Hour))
			begun := time.Now()
			r.session(t)
			least, most = min(least, time.Since(begun)), max(most, time.Since(begun))
		}
		if least > 5*time.Second || most < 5*time.Second || most > 11*time.Second {
			t.Errorf("rotations begin after %v to %v", least, most)
		}
	})
}
