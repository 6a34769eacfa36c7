package proxy

import (
	"context"
	"errors"
	"fmt"
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
	outcome, span := s.serve(w, r)
	if isDiscovery(r) {
		s.metrics.discovered(outcome, time.Since(start))
	} else {
		s.metrics.scraped(outcome, time.Since(start), span.traceID())
	}
	span.ended(outcome)
	if outcome == Truncated || outcome == Cancelled {
		// The one way to end a response so that no client takes it for whole.
		panic(http.ErrAbortHandler)
	}
}

func (s scrapes) serve(w http.ResponseWriter, r *http.Request) (Outcome, *span) {
	// A scrape is in flight before its scraper is identified and before it is
	// decided: a change of the trust or the policy finds either the flight or, in
	// the end of allowed, the change.
	fl := s.flights.enter(r.Context(), s.tokenOf(r))
	if fl == nil {
		w.Header().Set("Connection", "close")
		return s.fail(w, r, &failure{outcome: Draining, text: "the proxy is stopping"}), nil
	}
	defer s.flights.leave(fl)

	scraper, err := s.identify(fl.ctx, fl.token)
	if err != nil {
		return s.turnAway(w, r, err), nil
	}
	if scraper.fading {
		// No later scrape is on this connection when its certificate ends: the next
		// one brings the renewed certificate.
		w.Header().Set("Connection", "close")
	}
	if isDiscovery(r) {
		return s.discover(fl, w, r, scraper), nil
	}
	q, failed := parseRequest(r, s.cfg.MaxScrapeTimeout)
	if failed != nil {
		if failed.outcome == NotFound {
			s.noticeMalformed(r, scraper.identity, failed.cause)
		}
		return s.fail(w, r, failed), nil
	}
	if s.tracer != nil {
		s.flights.trace(fl, s.trace(fl.ctx, r, q, scraper.identity))
	}
	return s.scrape(fl, w, r, q, scraper), fl.span
}

// scrape answers a scraper that is known.
func (s scrapes) scrape(fl *flight, w http.ResponseWriter, r *http.Request, q request, scraper credential) Outcome {
	permit, failed := s.allowed(fl, scraper.identity, remoteIP(r), q)
	if failed != nil {
		if failed.outcome == NotFound {
			s.noticeUnserved(r, scraper.identity, q.path, failed.cause)
		}
		return s.fail(w, r, failed)
	}
	permit.notAfter = scraper.notAfter
	fl.span.found(permit.found)
	route := permit.found.route
	permit.place = route.flying.Add(1)
	defer route.flying.Add(-1)
	outcome, size, err := s.relay(fl, w, r, q, permit)
	if errors.Is(err, errLapsed) {
		s.noticeLapse(r, err)
	}
	s.notice(route, ended{began: permit.began, outcome: outcome, size: size, scraper: scraper.identity, given: q.timeout, err: err})
	return outcome
}

// permit is what a scrape was allowed.
type permit struct {
	began  time.Time
	found  found
	labels map[string]string // that it was allowed by
	limits authz.Limits      // of the scraper
	// place counts the route's scrapes in flight when this one came, itself included.
	place int64
	// notAfter is when the scraper's credential ends; zero: never.
	notAfter time.Time
}

// allowed finds the route of a scrape that the policy in force allows, and what
// it obliges the scrape to. Right after a change it waits until the routes have been
// judged: their labels and limits would be the old policy's.
func (s scrapes) allowed(fl *flight, scraper authn.Identity, remoteIP string, q request) (permit, *failure) {
	began := time.Now()
	for {
		policy, failed := s.settle(fl, began, q)
		if failed != nil {
			return permit{}, failed
		}
		route, ok := s.routes.lookup(q.path)
		labels := route.labels()
		deciding := fl.span.child("decision")
		decision := s.decide(fl.ctx, scraper, remoteIP, q, route, labels, authz.Denied)
		deciding.decided(decision)
		if !decision.Allow || !ok {
			if decision.Allow {
				s.rejections.absent(scraper, remoteIP, q.path, "no agent has registered this path")
				return permit{}, errNotFound()
			}
			denied := deniedScrape(decision) // a copy: a decision that allows stays off the heap
			return permit{}, &failure{outcome: NotFound, text: errNotFound().text, cause: &denied}
		}
		if !s.flights.decide(fl, scraper, remoteIP, q, decision.Limits.MaxInflight) {
			return permit{}, &failure{outcome: Busy, text: "this scraper has as many scrapes in flight as the policy's max_inflight allows"}
		}
		if policy == s.policy.Changed() {
			return permit{began: began, found: route.labelled(labels), labels: labels, limits: decision.Limits}, nil
		}
	}
}

// fail answers with a line of text, within a bounded time.
func (s scrapes) fail(w http.ResponseWriter, r *http.Request, f *failure) Outcome {
	if f.outcome != Cancelled { // who hung up reads no answer
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stallTimeout))
		f.write(w)
	}
	s.log.Debug("scrape refused", "path", shownURI(r.RequestURI), "remote", r.RemoteAddr, "outcome", string(f.outcome), "error", f.Error())
	return f.outcome
}

// decide asks the policy, and has a no written down with that effect. A path without a
// route is asked about too, so that it takes as long to refuse as one with.
func (s scrapes) decide(ctx context.Context, id authn.Identity, remoteIP string, q request, route found, labels map[string]string, no authz.Effect) authz.Decision {
	scraper := authz.ScraperOf(id)
	scraper.RemoteIP = remoteIP
	input := authz.ScrapeInput{
		Scraper: scraper,
		Request: authz.ScrapeRequest{Query: q.query, Timeout: q.timeout},
		Route: authz.ScrapeRoute{
			Path: q.path, Segments: segmentsOf(route, q.path), Owner: route.owner.String(), Labels: labels,
		},
		Proxy: s.self(),
		Now:   time.Now(),
	}
	// A scraper that hangs up meanwhile must not look like a fault of the policy.
	decision := s.policy.Scrape(context.WithoutCancel(ctx), input)
	s.metrics.decided("scrape", decision)
	if !decision.Allow {
		event := authz.Event{
			Time: input.Now, Action: "scrape", Effect: no, Identity: id.String(), Route: q.path, RemoteIP: remoteIP,
			Decision: decision, Digest: input.Digest,
		}
		if peer, ok := authn.PeerFromContext(ctx); ok {
			event.Serial, event.TLSGroup, event.TLSSuite = peer.Serial(), peer.GroupName(), peer.SuiteName()
			event.NotAfter = peer.NotAfter
		}
		s.audit.Record(event)
		v := verdict{Event: event}
		v.document, v.redacted = withoutValues(input)
		s.rejections.note(v)
	}
	if faulty(decision) {
		s.log.Error("policy fault, scrape denied", "route", q.path, "scraper", id.String(), "decision", decision.ID, "fault", decision.Fault)
	}
	return decision
}

// relay borrows a lane of the least busy session and carries the scrape over it.
// A lane that turns out to have ended before the scrape began is replaced, a few
// times at most.
func (s scrapes) relay(fl *flight, w http.ResponseWriter, r *http.Request, q request, p permit) (outcome Outcome, size int64, err error) {
	route := p.found
	for range maxAttempts {
		if g := pick(route.grants); g != nil {
			t := termsOf(s.cfg, q, p.limits, g.limits)
			t.notAfter = p.notAfter
			if t.inflight > 0 && p.place > t.inflight {
				f := &failure{
					outcome: Busy, text: fmt.Sprintf("this route has as many scrapes in flight as the policy's max_inflight allows: %d", t.inflight),
					hint: "raise the policy's max_inflight, or scrape less at once",
				}
				return s.fail(w, r, f), 0, f
			}
			outcome, size, err = s.carry(fl, w, r, q, g, t, p.began)
			if !errors.Is(err, errUnsent) && !errors.Is(err, errPoolRetired) {
				return outcome, size, err
			}
		}
		// While the scrape was decided, another session may have taken the route
		// over from all those that there were.
		again, ok := s.routes.lookup(q.path)
		if !ok {
			f := errNotFound()
			return s.fail(w, r, f), 0, f
		}
		if again.owner != route.owner {
			break // what the policy allowed was the other's
		}
		route = again.labelled(p.labels)
	}
	f := &failure{outcome: AgentGone, text: "the agent of this route is not connected"}
	return s.fail(w, r, f), 0, f
}

// carry carries a scrape over one lane of the grant's session. errUnsent and
// errPoolRetired leave the answer open.
func (s scrapes) carry(fl *flight, w http.ResponseWriter, r *http.Request, q request, g *grant, t terms, began time.Time) (outcome Outcome, size int64, err error) {
	s.flights.carry(fl, g)
	// A revocation that came meanwhile has either seen this flight or is seen here.
	if !s.routes.holds(g) {
		return "", 0, errPoolRetired
	}
	_, agent := budget(t.timeout)
	end, why := t.deadline(began)
	// The flight itself ends: a context of its own for that would cost as much again.
	timer := time.AfterFunc(time.Until(end), func() { fl.cancel(why) })
	defer timer.Stop()
	lanes := g.session.lanes
	l := lanes.take()
	if l == nil {
		if l, err = s.awaitLane(fl, lanes); errors.Is(err, errPoolRetired) {
			return "", 0, err
		} else if err != nil {
			f := waitFailure(err)
			if f.outcome == Busy {
				f.text, f.hint = lanes.shortage()
			}
			return s.fail(w, r, f), 0, f
		}
	}
	conn, _ := authn.ConnFromContext(fl.ctx)
	e := exchange{scrapes: s, w: w, conn: conn, ctx: fl.ctx, hangUp: fl.cancel, lane: l, deadline: end, terms: t}
	request := q.scrapeRequest(r.Header, time.Until(began.Add(agent)), t.body)
	request.Traceparent = fl.span.traceparent()
	err = e.run(request)
	if e.reusable {
		lanes.giveBack(l)
	} else {
		lanes.drop(l)
	}
	fl.span.answered(e.status, e.body)
	if e.outcome == OK {
		s.metrics.size.Observe(float64(e.body))
	}
	return e.outcome, e.body, err
}

// awaitLane waits for a lane where none is idle.
func (s scrapes) awaitLane(fl *flight, lanes *pool) (*lane, error) {
	began, waiting := time.Now(), fl.span.child("lane wait")
	l, err := lanes.borrow(fl.ctx)
	s.metrics.laneWait.Observe(time.Since(began).Seconds())
	waiting.waited(err)
	return l, err
}

// maxAttempts is how many lanes one scrape tries.
const maxAttempts = 3

var errDeadline = errors.New("the scrape's time is up")

// waitFailure is what a scrape answers that got no lane.
func waitFailure(err error) *failure {
	switch {
	case errors.Is(err, errLapsed):
		return &failure{outcome: Cancelled, text: errLapsed.Error(), cause: err}
	case errors.Is(err, errRevoked):
		return &failure{outcome: NotFound, text: errNotFound().text, cause: err}
	case errors.Is(err, errPoolBusy), errors.Is(err, errDeadline):
		return &failure{outcome: Busy, text: "no lane of the route's session came free", cause: err}
	default:
		return &failure{outcome: Cancelled, text: "the scraper hung up", cause: err}
	}
}

// settle returns the policy in force once all has been judged by it.
func (s scrapes) settle(fl *flight, began time.Time, q request) (<-chan struct{}, *failure) {
	if policy := s.settled.by(); policy == s.policy.Changed() {
		return policy, nil
	}
	total, _ := budget(q.timeout)
	ctx, cancel := context.WithDeadlineCause(fl.ctx, began.Add(total), errDeadline)
	defer cancel()
	policy, ok := s.settled.wait(ctx, s.policy.Changed)
	if ok {
		return policy, nil
	}
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return nil, &failure{outcome: Draining, text: "the proxy is stopping"}
	case errors.Is(cause, errDeadline):
		return nil, &failure{outcome: Busy, text: "the policy has changed, and not all is judged by it yet", cause: cause}
	default:
		return nil, waitFailure(cause)
	}
}

// notice remembers a scrape, and logs when a route's scrapes begin or cease to fail, not
// each failure.
func (s scrapes) notice(r *route, e ended) {
	news := r.remember(e)
	switch {
	case news && e.outcome != OK:
		s.log.Warn("scrapes of a route fail", "route", r.path, "agent", r.owner.String(), "outcome", string(e.outcome),
			"error", e.err, "hint", hintOn(e.outcome, e.err))
	case news:
		s.log.Info("scrapes of a route work again", "route", r.path)
	case !e.tells() && hints[e.outcome] != "" && s.unserved.news(wish{e.scraper, r.path, e.outcome}, time.Now()):
		s.log.Warn("scrape failed that tells nothing of its route", "route", r.path, "scraper", e.scraper.String(),
			"outcome", string(e.outcome), "error", e.err, "hint", hintOn(e.outcome, e.err))
	}
}
