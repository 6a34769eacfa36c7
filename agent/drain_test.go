package agent_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// gatedTarget answers when told to.
func gatedTarget(t *testing.T) (url string, asked chan struct{}, open chan struct{}) {
	t.Helper()
	asked, open = make(chan struct{}, 16), make(chan struct{})
	url = startTarget(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-open:
			io.WriteString(w, "a 1\n")
		case <-r.Context().Done():
		}
	})
	return url, asked, open
}

func lingering(p *fakeProxy) { p.lingering = true }

func TestDrainFinishesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	url, asked, open := gatedTarget(t)
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}, proxy: lingering})
	session := r.session(t)
	session.wantLanes(2)
	lane, idle := receive(t, session.lanes, "a lane"), receive(t, session.lanes, "a lane")
	if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 20_000}); err != nil {
		t.Fatal(err)
	}
	receive(t, asked, "the target's request")
	r.cancel()
	receive(t, session.drained, "the drain")
	// This one crossed the agent's drain on its way.
	if err := idle.request(&tunnelv1.ScrapeRequest{Path: "/b", TimeoutMs: 20_000}); err != nil {
		t.Fatal(err)
	}
	if a, err := idle.collect(true); err != nil || a.end.GetCode() != tunnelv1.End_NOT_FOUND {
		t.Errorf("the crossing scrape: %v, %v", a.end, err)
	}
	if _, err := idle.stream.Recv(); err != io.EOF { // its lane is ended by the agent
		t.Errorf("the idle lane ended by %v", err)
	}
	idle.end <- nil
	select {
	case err := <-r.ran:
		t.Fatalf("Run() = %v with a scrape under way", err)
	case <-time.After(time.Second):
	}
	if r.agent.Ready() == nil {
		t.Error("ready while draining")
	}
	close(open)
	if a, err := lane.collect(true); err != nil || a.end.GetCode() != tunnelv1.End_COMPLETE || string(a.body) != "a 1\n" {
		t.Errorf("the scrape under way: %v, %v", a, err)
	}
	if err := receive(t, r.ran, "the end of Run"); err != nil {
		t.Errorf("Run() = %v", err)
	}
	receive(t, session.done, "the end of the session")
}

func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	url, asked, dropped := hangingTarget(t, "a 1\n")
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}, proxy: lingering, configure: func(c *agent.Config) {
		c.DrainTimeout = 300 * time.Millisecond
	}})
	lane := r.lane(t)
	if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 60_000}); err != nil {
		t.Fatal(err)
	}
	receive(t, asked, "the target's request")
	r.cancel()
	begun := time.Now()
	if err := receive(t, r.ran, "the end of Run"); err != nil {
		t.Errorf("Run() = %v", err)
	}
	if took := time.Since(begun); took < 300*time.Millisecond || took > 5*time.Second {
		t.Errorf("drained in %v", took)
	}
	receive(t, dropped, "the end of the target's request")
}

// A proxy that ends the session when it has read the drain is not waited for.
func TestDrainIsQuickWhereTheProxyHelps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}})
		session := r.session(t)
		<-session.registered
		synctest.Wait()
		begun := time.Now()
		r.cancel()
		if err := <-r.ran; err != nil {
			t.Errorf("Run() = %v", err)
		}
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("drained in %v", took)
		}
	})
}

func TestDrainWithoutHelpOfTheProxy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}, proxy: lingering})
		session := r.session(t)
		session.wantLanes(8)
		synctest.Wait()
		begun := time.Now()
		r.cancel()
		if err := <-r.ran; err != nil {
			t.Errorf("Run() = %v", err)
		}
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("drained in %v", took)
		}
	})
}

// An agent that is stopped before it has a session stops at once.
func TestDrainWithoutASession(t *testing.T) {
	for name, greet := range map[string]func(*tunnelv1.Hello) *tunnelv1.ProxyMessage{
		"waiting for the welcome": func(*tunnelv1.Hello) *tunnelv1.ProxyMessage { return nil },
		"waiting to try again":    func(*tunnelv1.Hello) *tunnelv1.ProxyMessage { return &tunnelv1.ProxyMessage{} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := startRig(t, rigOptions{pipe: true, targets: agent.Targets{someTarget}, proxy: func(p *fakeProxy) { p.greet = greet }})
				time.Sleep(time.Minute)
				begun := time.Now()
				r.cancel()
				if err := <-r.ran; err != nil {
					t.Errorf("Run() = %v", err)
				}
				if took := time.Since(begun); took > 10*time.Millisecond {
					t.Errorf("stopped in %v", took)
				}
			})
		})
	}
}

// While a proxy drains, scrapes go on and nothing is opened; then there is a new
// session.
func TestDrainOfTheProxy(t *testing.T) {
	t.Parallel()
	url, asked, open := gatedTarget(t)
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	session := r.session(t)
	lane := receive(t, session.lanes, "a lane")
	if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 20_000}); err != nil {
		t.Fatal(err)
	}
	receive(t, asked, "the target's request")
	session.send(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Drain{Drain: &tunnelv1.Drain{}}})
	session.wantLanes(4)
	close(open)
	if a, err := lane.collect(true); err != nil || a.end.GetCode() != tunnelv1.End_COMPLETE {
		t.Errorf("the scrape under way: %v, %v", a, err)
	}
	if len(session.lanes) != 0 {
		t.Error("lanes were opened to a proxy that drains")
	}
	session.end <- nil
	r.session(t)
}
