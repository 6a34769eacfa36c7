package testenv_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
	"github.com/seed-951114d4/sallyport/testenv/workload"
)

// spire hands out SVIDs of a world's CA, to one workload.
type spire struct {
	*workload.Server
	w       *testenv.World
	request pki.Request
}

func startSpire(w *testenv.World, request pki.Request) *spire {
	s := &spire{Server: workload.Start(w.TB), w: w, request: request}
	s.issue(time.Hour)
	return s
}

// issue hands out a new SVID with that life.
func (s *spire) issue(life time.Duration) *pki.Leaf {
	s.w.TB.Helper()
	s.request.NotBefore, s.request.NotAfter = time.Now().Add(-time.Second), time.Now().Add(life)
	leaf := s.w.Leaf(s.request)
	err := s.Set(workload.State{
		SVIDs:   []tls.Certificate{leaf.TLS()},
		Bundles: map[string][]*x509.Certificate{testenv.TrustDomain: {s.w.CA.Certificate()}},
	})
	if err != nil {
		s.w.TB.Fatal(err)
	}
	return leaf
}

// source follows the Workload API until the test ends, and has an SVID.
func (s *spire) source(role authn.Role) authn.Keeper {
	s.w.TB.Helper()
	source := s.w.Keep(authn.Config{Socket: s.Address()}, role)
	testenv.Eventually(s.w.TB, func() error { _, err := source.Material(); return err })
	return source
}

// load scrapes a route steadily, from several places at once.
type load struct {
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	took  []time.Duration
	lost  []string
	total int
}

func startLoad(w *testenv.World, path string, scrapers int) *load {
	l := &load{stop: make(chan struct{})}
	scraper := w.Scraper("prometheus")
	for range scrapers {
		l.wg.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
					l.scrape(scraper, path)
				}
			}
		})
	}
	return l
}

func (l *load) scrape(scraper *testenv.Scraper, path string) {
	begun := time.Now()
	answer := scraper.Get(path)
	took := time.Since(begun)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	l.took = append(l.took, took)
	if answer.Err != nil || answer.Status != http.StatusOK || len(answer.Body) != 2000 {
		l.lost = append(l.lost, fmt.Sprintf("%d %s %v %.200q", answer.Status, answer.Outcome, answer.Err, answer.Body))
	}
}

// take returns how long the scrapes took since the last time, the shortest first.
func (l *load) take() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	took := l.took
	l.took = nil
	slices.Sort(took)
	return took
}

// end stops and returns the scrapes that were lost.
func (l *load) end() (lost []string, total int) {
	close(l.stop)
	l.wg.Wait()
	return l.lost, l.total
}

// A hundred times the agent is given another certificate, and no scrape is lost or
// noticeably slower.
func TestRotationLosesNoScrape(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	target := testenv.NewTarget(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", testenv.Text)
		_, _ = rw.Write(testenv.Exposition(2000)[:2000])
	})
	api := startSpire(w, pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a/node")})
	a := w.StartAgent("team-a/node", testenv.AgentConfig{Source: api.source(authn.Client)}, testenv.Route("/team-a/node/x", target.URL))
	a.WaitReady()

	load := startLoad(w, "/team-a/node/x", 4)
	enough := func(n int) func() error {
		return func() error {
			load.mu.Lock()
			defer load.mu.Unlock()
			if len(load.took) < n {
				return fmt.Errorf("%d scrapes", len(load.took))
			}
			return nil
		}
	}
	testenv.Eventually(t, enough(500))
	before := load.take()
	var last *pki.Leaf
	for i := range 100 {
		// The less is left, the less a rotation is put off.
		last = api.issue(20 * time.Second)
		testenv.WaitMetric(w, a, float64(i+1), "sallyport_agent_rotations_total")
	}
	testenv.Eventually(t, enough(500))
	during := load.take()
	lost, total := load.end()
	for _, scrape := range lost[:min(len(lost), 10)] {
		t.Errorf("lost: %s", scrape)
	}
	quantile := func(took []time.Duration, q float64) time.Duration { return took[int(float64(len(took)-1)*q)] }
	t.Logf("%d scrapes, %d lost; before the rotations %v (median) %v (99th), during them %v, %v, the longest %v", total, len(lost),
		quantile(before, .5), quantile(before, .99), quantile(during, .5), quantile(during, .99), quantile(during, 1))
	if m := quantile(during, .5); m > 3*quantile(before, .5)+10*time.Millisecond {
		t.Errorf("a scrape takes %v while certificates rotate, and %v otherwise", m, quantile(before, .5))
	}
	testenv.WaitMetric(w, a, 1, "sallyport_agent_sessions")
	testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_sessions")
	sessions := w.Proxy.Sessions()
	if len(sessions) != 1 || sessions[0].Agent.Serial != fmt.Sprintf("%x", last.Certificate().SerialNumber.Bytes()) {
		t.Errorf("%+v, want one of serial %x", sessions, last.Certificate().SerialNumber)
	}
	if n := w.Proxy.Metric("sallyport_proxy_scrapes_total", "outcome", "ok"); n != float64(total) {
		t.Errorf("%v scrapes went well of %d", n, total)
	}
}

// A scrape that is under way when the certificate changes ends well, on its old
// session, however long it takes.
func TestRotationWhileAScrapeIsUnderWay(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	asked, open := make(chan struct{}, 2), make(chan struct{})
	target := testenv.NewTarget(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", testenv.Text)
		_, _ = io.WriteString(rw, "a 1\n")
		_ = http.NewResponseController(rw).Flush()
		asked <- struct{}{}
		<-open
		_, _ = io.WriteString(rw, "b 1\n")
	})
	quick := testenv.NewTarget(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", testenv.Text)
		_, _ = io.WriteString(rw, "c 1\n")
	})
	api := startSpire(w, pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a/node")})
	api.issue(time.Minute)
	a := w.StartAgent("team-a/node", testenv.AgentConfig{Source: api.source(authn.Client)},
		testenv.Route("/team-a/node/slow", target.URL), testenv.Route("/team-a/node/quick", quick.URL))
	a.WaitReady()
	scraper := w.Scraper("prometheus")
	answers := make(chan testenv.Answer, 1)
	go func() { answers <- scraper.Get("/team-a/node/slow", "X-Prometheus-Scrape-Timeout-Seconds", "60") }()
	<-asked
	api.issue(time.Hour)
	testenv.WaitMetric(w, a, 1, "sallyport_agent_rotations_total")
	testenv.Eventually(t, func() error {
		if !slices.ContainsFunc(w.Proxy.Sessions(), func(s proxy.SessionInfo) bool { return s.Draining }) {
			return fmt.Errorf("no session drains")
		}
		return nil
	})
	if answer := scraper.Get("/team-a/node/quick"); answer.Status != http.StatusOK || string(answer.Body) != "c 1\n" {
		t.Errorf("a scrape in the rotation: %+v", answer)
	}
	close(open)
	if answer := <-answers; answer.Err != nil || answer.Status != http.StatusOK || string(answer.Body) != "a 1\nb 1\n" {
		t.Errorf("the scrape under way: %+v", answer)
	}
	testenv.WaitMetric(w, a, 1, "sallyport_agent_sessions")
}

// A proxy that takes no second session of an identity costs the rotation, and not a
// scrape.
func TestRotationThatTheProxyRefuses(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Proxy: func(cfg *proxy.Config) { cfg.MaxSessionsPerIdentity = 1 }})
	target := testenv.NewTarget(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", testenv.Text)
		_, _ = rw.Write(testenv.Exposition(2000)[:2000])
	})
	api := startSpire(w, pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a/node")})
	a := w.StartAgent("team-a/node", testenv.AgentConfig{Source: api.source(authn.Client)}, testenv.Route("/team-a/node/x", target.URL))
	a.WaitReady()
	load := startLoad(w, "/team-a/node/x", 2)
	api.issue(20 * time.Second)
	testenv.Eventually(t, func() error {
		if n := a.Metric("sallyport_agent_connects_total", "result", "refused"); n < 3 {
			return fmt.Errorf("refused %v times", n)
		}
		return nil
	})
	if err := a.Ready(); err != nil {
		t.Errorf("Ready() = %v", err)
	}
	if lost, total := load.end(); len(lost) > 0 {
		t.Errorf("%d of %d scrapes were lost: %q", len(lost), total, lost[0])
	}
	if n := a.Metric("sallyport_agent_rotations_total"); n != 0 {
		t.Errorf("%v rotations", n)
	}
}

// An agent whose certificate expires says so, and recovers when the Workload API
// has another.
func TestAgentOutlivesItsCertificate(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	api := startSpire(w, pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a/node")})
	api.issue(3 * time.Second)
	a := w.StartAgent("team-a/node", testenv.AgentConfig{Source: api.source(authn.Client)}, testenv.Route("/team-a/node/x", "http://127.0.0.1:1/"))
	testenv.Eventually(t, func() error {
		if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "no certificate: own certificate expired at ") {
			return fmt.Errorf("Ready() = %w", err)
		}
		return nil
	})
	api.issue(time.Hour)
	testenv.EventuallyWithin(t, 5*time.Second, a.Ready)
	testenv.Eventually(t, func() error {
		for _, s := range w.Proxy.Sessions() {
			if time.Until(s.Agent.NotAfter) < time.Minute {
				return fmt.Errorf("a session of the old certificate")
			}
		}
		return nil
	})
}
