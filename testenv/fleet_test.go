package testenv_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// fleet is many agents of a world, of a few identities.
type fleet struct {
	w      *testenv.World
	agents []*testenv.Agent
	paths  []string
	each   int
}

// startFleet starts agents with so many routes each, of which the last leads to a
// target that never answers and the one before to one whose answer is large.
func startFleet(w *testenv.World, agents, each int) *fleet {
	const perIdentity = 50
	f := &fleet{w: w, each: each}
	small, large, never := testenv.Metrics(w.TB), testenv.Body(w.TB, testenv.Exposition(1<<20)), testenv.Slow(w.TB)
	var source authn.Keeper
	for i := range agents {
		team := fmt.Sprintf("team-%d", i/perIdentity)
		if i%perIdentity == 0 {
			source = w.Keep(w.Files(w.Leaf(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID(team)}), w.CA), authn.Client)
		}
		var routes []agent.Target
		for n := range each {
			path := fmt.Sprintf("/%s/%d/%d", team, i, n)
			url := small.URL
			switch n {
			case each - 1:
				url = never.URL
			case each - 2:
				url = large.URL
			default:
				f.paths = append(f.paths, path)
			}
			routes = append(routes, testenv.Route(path, url))
		}
		f.agents = append(f.agents, w.StartAgent(team, testenv.AgentConfig{Source: source}, routes...))
	}
	// All at once: to drain one takes half a second.
	w.TB.Cleanup(func() {
		for _, a := range f.agents {
			a.Drain()
		}
	})
	return f
}

// waitServed waits until the proxy serves every route.
func (f *fleet) waitServed() {
	f.w.TB.Helper()
	want := float64(len(f.agents) * f.each)
	testenv.EventuallyWithin(f.w.TB, 2*time.Minute, func() error {
		if have := f.w.Proxy.Metric("sallyport_proxy_routes", "state", "served"); have != want {
			return fmt.Errorf("%v routes are served of %v", have, want)
		}
		return nil
	})
}

// some is a random tenth of the agents.
func (f *fleet) some() []*testenv.Agent {
	some := append([]*testenv.Agent(nil), f.agents...)
	rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	return some[:max(len(some)/10, 1)]
}

// disturb does one of the things that happen to fleets.
func (f *fleet) disturb(round int) {
	switch round % 4 {
	case 0:
		f.w.Proxy.Kill()
		f.w.Proxy.Start()
	case 1:
		f.w.Proxy.Stop()
		f.w.Proxy.Start()
	case 2:
		for _, a := range f.some() {
			a.Link.Cut()
		}
	case 3: // dead peers: nobody tells that they are gone
		some := f.some()
		for _, a := range some {
			a.Link.Freeze()
		}
		f.annoy(100)
		for _, a := range some {
			a.Link.Cut()
			a.Link.Thaw()
		}
	}
}

// annoy scrapes as no good scraper does: it hangs up in the middle of a large body,
// and while a target lets it wait.
func (f *fleet) annoy(times int) {
	scraper := f.w.Scraper("prometheus")
	defer scraper.Client.CloseIdleConnections()
	var wg sync.WaitGroup
	for range times {
		wg.Go(func() {
			path := f.paths[rand.IntN(len(f.paths))]
			path = path[:strings.LastIndexByte(path, '/')+1] + fmt.Sprint(f.each-1-rand.IntN(2))
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, scraper.URL(path), nil)
			if err != nil {
				f.w.TB.Error(err)
				return
			}
			if response, err := scraper.Client.Do(request); err == nil {
				_, _ = io.CopyN(io.Discard, response.Body, 1000)
				response.Body.Close()
			}
		})
	}
	wg.Wait()
}

// scrapeEach scrapes routes of the fleet, each of which has to answer.
func (f *fleet) scrapeEach(paths []string) {
	scraper := f.w.Scraper("prometheus")
	defer scraper.Client.CloseIdleConnections()
	for _, path := range paths {
		if answer := scraper.Get(path); answer.Status != http.StatusOK {
			f.w.TB.Errorf("%s: %d %s %v", path, answer.Status, answer.Outcome, answer.Err)
		}
	}
}

// held is what the process holds while the fleet is calm.
type held struct {
	heap                    int64
	goroutines, descriptors int
}

// settle says what is held by a fleet that has just come to another proxy, without the
// lanes that idle for half a minute. Goroutines of connections that have ended leave
// within a moment.
func (f *fleet) settle(tb testing.TB, within func(held) error) held {
	tb.Helper()
	f.w.Proxy.Kill()
	f.w.Proxy.Start()
	f.waitServed()
	f.w.Audit.Forget()
	f.w.Logs.Forget()
	var now held
	testenv.EventuallyWithin(tb, time.Minute, func() error {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err
		}
		now = held{heap: heap(), goroutines: runtime.NumGoroutine(), descriptors: len(files)}
		return within(now)
	})
	return now
}

// A fleet of agents, over and over: the proxy dies and is restarted, links break and
// fall silent, scrapers hang up and targets never answer. Every route comes back, and
// at the end memory, goroutines and descriptors are what they were. SOAK=10m makes it
// long and the fleet large.
func TestFleetSoak(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc, which only Linux has")
	}
	agents, each, rounds, length := 20, 5, 4, time.Duration(0)
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		agents = 2000
	}
	w := testenv.Start(t, testenv.Config{Proxy: func(c *proxy.Config) { c.MaxSessionsPerIdentity = 200 }})
	f := startFleet(w, agents, each)
	cycle := func(round int) {
		f.disturb(round)
		f.annoy(50)
		f.waitServed()
		for range 10 {
			f.scrapeEach([]string{f.paths[rand.IntN(len(f.paths))]})
		}
		w.Audit.Forget()
		w.Logs.Forget()
	}
	f.waitServed()
	for round := range 4 {
		cycle(round) // each kind once, so that pools have what they keep
	}
	f.scrapeEach(f.paths)
	before := f.settle(t, func(held) error { return nil })
	round := 0
	for end := time.Now().Add(length); round < rounds || time.Now().Before(end); round++ {
		cycle(round)
	}
	f.scrapeEach(f.paths)
	// One goroutine or descriptor for each agent that stayed would be ten times this.
	room := max(agents/10, 20)
	after := f.settle(t, func(now held) error {
		if now.goroutines > before.goroutines+room || now.descriptors > before.descriptors+room || now.heap > before.heap*5/4+8<<20 {
			return fmt.Errorf("%d rounds have left %+v of %+v", round, now, before)
		}
		return nil
	})
	t.Logf("%d agents, %d rounds: %+v before, %+v after", agents, round, before, after)
}

// An idle session costs a proxy five goroutines, and they go with it.
func TestIdleSessionsAreCheap(t *testing.T) {
	t.Parallel()
	const sessions, each, most = 100, 20, 6
	s := newSite(t)
	p := s.startProxy(append(s.files("proxy", proxyLeaf), fmt.Sprint("SALLYPORT_MAX_SESSIONS_PER_IDENTITY=", sessions))...)
	admin := p.Await(`"admin":"([^"]+)"`)
	metric := func(name string) float64 {
		response, err := http.Get("http://" + admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(body), "\n"+name+" ")
		var value float64
		if _, err := fmt.Sscan(rest, &value); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return value
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	before := metric("go_goroutines")

	cert, key := s.issue("agent", agentLeaf)
	identity, err := authn.NewFiles(authn.Config{CertFile: cert, KeyFile: key, CAFile: s.anchors()}, authn.Client, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	for i := range sessions {
		cfg := agent.Config{ProxyAddrs: []string{s.tunnel}, MaxConcurrentScrapes: 64, MaxResponseBytes: 1 << 20}
		for n := range each {
			cfg.Targets = append(cfg.Targets, testenv.Route(fmt.Sprintf("/team-a/node/%d/%d", i, n), "http://127.0.0.1:1/metrics"))
		}
		a, err := agent.New(cfg, agent.Parts{Identity: identity, ProxyID: spiffeid.RequireFromString(testenv.ID("proxy"))})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() { _ = a.Run(ctx) })
	}
	testenv.EventuallyWithin(t, time.Minute, func() error {
		have, goroutines := metric(`sallyport_proxy_routes{state="served"}`), metric("go_goroutines")
		if have < sessions*each || goroutines-before > sessions*most {
			return fmt.Errorf("%v routes, and %v goroutines for %d sessions", have, goroutines-before, sessions)
		}
		return nil
	})
	stop()
	testenv.Eventually(t, func() error {
		if left := metric("go_goroutines"); left > before+sessions/2 {
			return fmt.Errorf("%v goroutines, %v before", left, before)
		}
		return nil
	})
}
