package proxy

import (
	"context"
	"errors"
	"math"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
)

// DiscoveryPath is where Prometheus asks for its targets. No route has it: paths
// under /- are the proxy's own.
const DiscoveryPath = "/-/discovery"

// Bounds of what scrapers may ask of discovery at once. One identity stands for all
// replicas of a Prometheus, which may all start together.
const (
	maxListings           = 64
	maxListingsPerScraper = 8
)

// isDiscovery reports whether r asks for targets. The path is matched as sent, like
// that of any route.
func isDiscovery(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.RequestURI, DiscoveryPath)
	return ok && (rest == "" || rest[0] == '?')
}

// discovery is what all listings have in common.
type discovery struct {
	target string // host and port of the proxy, as Prometheus reaches it
	// warm is when discovery begins to answer; nil: nobody knows yet.
	warm atomic.Pointer[time.Time]
	// turns are for deciding. A listing of a fleet is thousands of decisions: half of
	// the machine is left to scrapes. Who waits for a slow reader has no turn.
	turns chan struct{}
	// coldNotice is of the first that comes too early.
	coldNotice sync.Once
	// faultNotice is of a policy that faults: a scraper lists as often as it likes.
	faultNotice seldom

	mu        sync.Mutex
	all       int
	byScraper map[authn.Identity]int
}

func newDiscovery(cfg Config) *discovery {
	return &discovery{
		target: cfg.target(), turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		byScraper: make(map[authn.Identity]int),
	}
}

// warmUp counts the warm-up from when agents can connect: a proxy that waits for its
// own identity has heard of no route, and would list none.
func (d *discovery) warmUp(ctx context.Context, trust authn.Trust, warmup time.Duration) {
	for {
		changed := trust.Changed()
		if _, err := trust.Anchors(); err == nil {
			at := time.Now().Add(warmup)
			d.warm.Store(&at)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// cold is how much of the warm-up is left. As long as agents cannot connect it has not
// begun.
func (d *discovery) cold(warmup time.Duration) time.Duration {
	at := d.warm.Load()
	if at == nil {
		return max(warmup, time.Second)
	}
	return time.Until(*at)
}

// DiscoveryBegins says whether discovery answers yet, and when it begins to: zero as long
// as the proxy has no certificate, from which on the warm-up counts.
func (p *Proxy) DiscoveryBegins() (at time.Time, answers bool) {
	if warm := p.discovery.warm.Load(); warm != nil {
		at = *warm
	}
	return at, p.discovery.cold(p.cfg.Warmup) <= 0
}

// enter lets a listing in; false: there are as many as there may be.
func (d *discovery) enter(scraper authn.Identity) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all >= maxListings || d.byScraper[scraper] >= maxListingsPerScraper {
		return false
	}
	d.all++
	d.byScraper[scraper]++
	return true
}

func (d *discovery) leave(scraper authn.Identity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all--
	if d.byScraper[scraper]--; d.byScraper[scraper] == 0 {
		delete(d.byScraper, scraper)
	}
}

// discover answers with the routes that the scraper may scrape.
func (s scrapes) discover(fl *flight, w http.ResponseWriter, r *http.Request, scraper credential) Outcome {
	if failed := checkDiscovery(r); failed != nil {
		return s.fail(w, r, failed)
	}
	if left := s.discovery.cold(s.cfg.Warmup); left > 0 {
		s.discovery.coldNotice.Do(func() {
			s.log.Info("discovery does not answer yet: agents are coming back", "begins_in", left.Round(time.Second).String(),
				"scraper", scraper.identity.String(), "outcome", string(WarmingUp), "hint", "wait, or see SALLYPORT_DISCOVERY_WARMUP: Prometheus keeps the targets that it has, and asks again")
		})
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(left.Seconds()))))
		return s.fail(w, r, &failure{outcome: WarmingUp, text: "the proxy has just started: agents are coming back"})
	}
	if !s.discovery.enter(scraper.identity) {
		w.Header().Set("Retry-After", "5")
		return s.fail(w, r, &failure{outcome: Busy, text: "as many listings as may be are being made"})
	}
	defer s.discovery.leave(scraper.identity)
	began := time.Now()
	end, why := terms{timeout: s.cfg.MaxScrapeTimeout, notAfter: scraper.notAfter}.deadline(began)
	ctx, cancel := context.WithDeadlineCause(fl.ctx, end, why)
	defer cancel()
	for {
		policy, failed := s.settle(fl, began, request{timeout: s.cfg.MaxScrapeTimeout})
		if failed != nil {
			return s.fail(w, r, failed)
		}
		l := &listing{scrapes: s, ctx: ctx, w: w, scraper: authz.ScraperOf(scraper.identity), self: s.self(), judgedBy: policy}
		l.identity, l.remote, l.scraper.RemoteIP = scraper.identity, r.RemoteAddr, remoteIP(r)
		err := l.run()
		if errors.Is(err, errStale) && !l.headSent {
			continue // nobody has seen any of it
		}
		return s.listed(l, r, err)
	}
}

// checkDiscovery refuses what a scrape would be refused for, and a query: no target
// is there to take it.
func checkDiscovery(r *http.Request) *failure {
	switch {
	case r.Method != http.MethodGet:
		return &failure{outcome: Method, text: "only GET is served"}
	case !r.ProtoAtLeast(1, 1):
		return &failure{outcome: BadRequest, text: "HTTP/1.1 is needed"}
	case r.ContentLength != 0:
		return &failure{outcome: BadRequest, text: "discovery has no body"}
	case r.RequestURI != DiscoveryPath:
		return &failure{outcome: BadRequest, text: "discovery has no query"}
	}
	return nil
}

// listed says how a listing ended, and answers where that is still open.
func (s scrapes) listed(l *listing, r *http.Request, err error) Outcome {
	if l.faults > 0 && s.discovery.faultNotice.now() {
		s.log.Error("policy faults, routes not listed", "scraper", l.scraper.ID, "routes", l.faults, "first", l.faultAt, "fault", l.fault)
	}
	outcome := OK
	switch {
	case errors.Is(err, errLapsed):
		s.noticeLapse(r, err)
		outcome = Cancelled
	case errors.Is(err, errHungUp):
		outcome = Cancelled
	case err != nil && l.headSent:
		outcome = Truncated
	case err != nil:
		return s.fail(l.w, r, &failure{outcome: Busy, text: "the routes were not decided in time", cause: err})
	}
	s.log.Debug("routes listed", "scraper", l.scraper.ID, "remote", r.RemoteAddr, "routes", l.count, "outcome", string(outcome), "error", err)
	return outcome
}
