package proxy

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
)

// scrapes serves Prometheus. It is a handler without a mux, since a mux cleans
// paths, and here a path matches as sent or not at all.
type scrapes struct{ *Proxy }

// ServeHTTP answers one scrape and counts how it ended.
func (s scrapes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if r.ContentLength != 0 {
		// net/http reads the rest of a body before it lets a connection go.
		_ = http.NewResponseController(w).SetReadDeadline(start.Add(bodyTimeout))
		w.Header().Set("Connection", "close")
	}
	outcome := s.serve(w, r)
	s.metrics.scraped(outcome, time.Since(start))
	if outcome == Truncated || outcome == Cancelled {
		// The one way to end a response so that no client takes it for whole.
		panic(http.ErrAbortHandler)
	}
}

func (s scrapes) serve(w http.ResponseWriter, r *http.Request) Outcome {
	if !s.flights.enter() {
		w.Header().Set("Connection", "close")
		return s.fail(w, r, &failure{outcome: Draining, text: "the proxy is stopping"})
	}
	defer s.flights.leave()

	scraper, ok := s.identify(r)
	if !ok {
		return s.fail(w, r, &failure{outcome: Unauthenticated, text: "a client certificate is needed"})
	}
	q, failed := parseRequest(r, s.cfg.MaxScrapeTimeout)
	if failed != nil {
		return s.fail(w, r, failed)
	}
	route, ok := s.routes.lookup(q.path)
	if !s.decide(r, scraper, q, route).Allow || !ok {
		return s.fail(w, r, errNotFound())
	}
	outcome, err := s.relay(w, r, q, route)
	s.notice(route.route, outcome, err)
	return outcome
}

// fail answers with a line of text, within a bounded time.
func (s scrapes) fail(w http.ResponseWriter, r *http.Request, f *failure) Outcome {
	if f.outcome != Cancelled { // who hung up reads no answer
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stallTimeout))
		f.write(w)
	}
	s.log.Debug("scrape refused", "path", r.RequestURI, "remote", r.RemoteAddr, "outcome", string(f.outcome), "error", f.Error())
	return f.outcome
}

// identify says who scrapes: what the handshake proved, or anonymous where no
// credential is asked for.
func (s scrapes) identify(r *http.Request) (authn.Identity, bool) {
	if peer, ok := authn.PeerFromContext(r.Context()); ok {
		return peer.Identity, true
	}
	if s.cfg.ClientAuth == ClientAuthNone {
		return authn.AnonymousIdentity(), true
	}
	return authn.Identity{}, false
}

// decide asks the policy. A path without a route is asked about too, so that it
// takes as long to refuse as one with.
func (s scrapes) decide(r *http.Request, id authn.Identity, q request, route found) authz.Decision {
	scraper := authz.ScraperOf(id)
	scraper.RemoteIP = remoteIP(r)
	decision := s.policy.Scrape(r.Context(), authz.ScrapeInput{
		Scraper: scraper,
		Request: authz.ScrapeRequest{Query: q.query, Timeout: q.timeout},
		Route: authz.ScrapeRoute{
			Path: q.path, Segments: segmentsOf(route, q.path), Owner: route.owner.String(), Labels: route.labels,
		},
		Proxy: s.self(),
	})
	s.metrics.decided("scrape", decision)
	if faulty(decision) {
		s.log.Error("policy fault, scrape denied", "route", q.path, "scraper", id.String(), "decision", decision.ID, "fault", decision.Fault)
	}
	return decision
}

// relay borrows a lane of the least busy session and carries the scrape over it.
// A lane that turns out to have ended before the scrape began is replaced, a few
// times at most.
func (s scrapes) relay(w http.ResponseWriter, r *http.Request, q request, route found) (Outcome, error) {
	timeout, _ := budget(q.timeout)
	hungUp, hangUp := context.WithCancelCause(r.Context())
	defer hangUp(nil)
	ctx, cancel := context.WithDeadlineCause(hungUp, time.Now().Add(timeout), errDeadline)
	defer cancel()
	for range maxAttempts {
		session := pick(route.holders)
		if session == nil {
			break
		}
		l, err := session.lanes.borrow(ctx)
		if err == nil {
			e := exchange{scrapes: s, w: w, ctx: ctx, hangUp: hangUp, lane: l}
			err = e.run(q.scrapeRequest(ctx, r.Header, s.cfg.MaxResponse))
			if e.reusable {
				session.lanes.giveBack(l)
			} else {
				session.lanes.drop(l)
			}
			if err == nil || !errors.Is(err, errUnsent) {
				return e.outcome, err
			}
		} else if !errors.Is(err, errPoolRetired) {
			f := waitFailure(err)
			return s.fail(w, r, f), f
		}
		again, ok := s.routes.lookup(q.path)
		if !ok {
			return s.fail(w, r, errNotFound()), nil
		}
		if again.owner != route.owner {
			break // what the policy allowed was the other's
		}
		route = again
	}
	f := &failure{outcome: AgentGone, text: "the agent of this route is not connected"}
	return s.fail(w, r, f), f
}

// maxAttempts is how many lanes one scrape tries.
const maxAttempts = 3

var errDeadline = errors.New("the scrape's time is up")

// waitFailure is what a scrape answers that got no lane.
func waitFailure(err error) *failure {
	switch {
	case errors.Is(err, errPoolBusy), errors.Is(err, errDeadline):
		return &failure{outcome: Busy, text: "no lane of the route's session came free", cause: err}
	default:
		return &failure{outcome: Cancelled, text: "the scraper hung up", cause: err}
	}
}

// notice logs when a route's scrapes begin or cease to fail, not each failure.
func (s scrapes) notice(r *route, outcome Outcome, err error) {
	if outcome == Cancelled || r.last.Swap(outcome) == any(outcome) {
		return
	}
	if outcome == OK {
		s.log.Info("route is scraped", "route", r.path)
		return
	}
	s.log.Warn("scrapes of a route fail", "route", r.path, "outcome", string(outcome), "error", err)
}
