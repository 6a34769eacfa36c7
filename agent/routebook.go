package agent

import (
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

const (
	maxBatchRoutes = 100
	maxBatchBytes  = 48 << 10
	// Registrations under way: enough for thousands of routes to come back
	// within seconds over a slow line.
	maxBatches = 4
	// How long a proxy may take to decide on one batch.
	answerTimeout = 30 * time.Second

	offerAgainAfter = 30 * time.Second
	offerAgainMost  = 5 * time.Minute
	policyPause     = time.Second // a proxy looks for a new policy no more often
)

type routeState uint8

const (
	routePending  routeState = iota // to be offered
	routeOffered                    // waiting for an answer
	routeAccepted                   // the session holds it
	routeRefused                    // to be offered again later
	routeStates
)

// String is the value of the metric's label. A pending route counts as offered.
func (r routeState) String() string {
	switch r {
	case routeAccepted:
		return "accepted"
	case routeRefused:
		return "refused"
	}
	return "offered"
}

// route is what one session knows of one path.
type route struct {
	endpoint *endpoint
	state    routeState
	told     bool      // the proxy has heard of it: it may hold it, or tell people that it refuses it
	doubted  bool      // offered: taken away before its answer came
	batch    *batch    // of the offer under way
	again    time.Time // refused: when to offer it again
	refusals int       // in a row
	verdict  string    // the last refusal as it was told
	// Of the last refusal.
	code, reasons, decision string
}

// batch is one Register that waits for its answer.
type batch struct {
	paths []string
	sent  time.Time
	// stale: the policy has changed since; the answer may be the old one's.
	stale bool
}

// routeBook keeps the routes of one session. It says what to tell the proxy
// next, and takes in its answers.
type routeBook struct {
	log     *slog.Logger
	metrics *metrics
	ration  ration

	routes    map[string]*route
	pending   []string  // to offer, in order
	withdrawn []string  // to withdraw, in order
	batches   []*batch  // offered, oldest first
	changed   time.Time // when to offer again what an older policy refused
	dueAgain  time.Time // when the first refused route is to be offered again; zero: never
}

func newRouteBook(log *slog.Logger, m *metrics) *routeBook {
	return &routeBook{log: log, metrics: m, ration: ration{log: log}, routes: make(map[string]*route)}
}

// want makes endpoints the routes to hold. What the proxy has heard of and is
// gone will be withdrawn, what is new or claims something else will be offered;
// the rest stays as it is.
func (b *routeBook) want(endpoints map[string]*endpoint) {
	for _, path := range slices.Sorted(maps.Keys(b.routes)) {
		if endpoints[path] != nil {
			continue
		}
		r := b.routes[path]
		if r.told {
			b.withdrawn = append(b.withdrawn, path)
		}
		b.metrics.routes.WithLabelValues(r.state.String()).Dec()
		delete(b.routes, path)
	}
	b.pending = slices.DeleteFunc(b.pending, func(path string) bool { return endpoints[path] == nil })
	for _, path := range slices.Sorted(maps.Keys(endpoints)) {
		e := endpoints[path]
		r := b.routes[path]
		if r == nil {
			r = &route{endpoint: e}
			b.routes[path] = r
			b.metrics.routes.WithLabelValues(r.state.String()).Inc()
			b.pending = append(b.pending, path)
			continue
		}
		changed := !r.endpoint.claimsLike(e)
		r.endpoint = e
		if changed && r.state != routePending {
			r.refusals = 0
			b.offer(path, r)
		}
	}
}

// offer puts a route in the line to be offered.
func (b *routeBook) offer(path string, r *route) {
	b.move(r, routePending)
	r.batch, r.doubted = nil, false
	b.pending = append(b.pending, path)
}

func (b *routeBook) move(r *route, to routeState) {
	b.metrics.routes.WithLabelValues(r.state.String()).Dec()
	b.metrics.routes.WithLabelValues(to.String()).Inc()
	r.state = to
}

// next is the next message about routes. A path that was withdrawn and is wanted
// again is told in that order.
func (b *routeBook) next(now time.Time) *tunnelv1.AgentMessage {
	if len(b.withdrawn) > 0 {
		n := min(len(b.withdrawn), maxBatchRoutes) // 100 paths of 512 bytes are not too much
		paths := slices.Clone(b.withdrawn[:n])
		b.withdrawn = slices.Delete(b.withdrawn, 0, n)
		b.log.Info("routes withdrawn", "routes", len(paths))
		return &tunnelv1.AgentMessage{Kind: &tunnelv1.AgentMessage_Withdraw{Withdraw: &tunnelv1.Withdraw{Paths: paths}}}
	}
	if !b.dueAgain.IsZero() && !now.Before(b.dueAgain) {
		b.offerAgain(now)
	}
	if len(b.pending) == 0 || len(b.batches) >= maxBatches {
		return nil
	}
	return b.register(now)
}

func (b *routeBook) register(now time.Time) *tunnelv1.AgentMessage {
	batch := &batch{sent: now}
	msg := &tunnelv1.Register{}
	size := 0
	for len(b.pending) > 0 && len(msg.Routes) < maxBatchRoutes {
		path := b.pending[0]
		r := b.routes[path]
		cost := proto.Size(r.endpoint.route) + 8 // its tag and length
		if len(msg.Routes) > 0 && size+cost > maxBatchBytes {
			break
		}
		size += cost
		b.pending = b.pending[1:]
		b.move(r, routeOffered)
		r.batch, r.told = batch, true
		msg.Routes = append(msg.Routes, r.endpoint.route)
		batch.paths = append(batch.paths, path)
	}
	b.batches = append(b.batches, batch)
	return &tunnelv1.AgentMessage{Kind: &tunnelv1.AgentMessage_Register{Register: msg}}
}

// offerAgain puts the refused routes whose time has come back in the line.
func (b *routeBook) offerAgain(now time.Time) {
	for _, path := range slices.Sorted(maps.Keys(b.routes)) {
		if r := b.routes[path]; r.state == routeRefused && !now.Before(r.again) {
			b.offer(path, r)
		}
	}
	b.findDue()
}

func (b *routeBook) findDue() {
	b.dueAgain = time.Time{}
	for _, r := range b.routes {
		if r.state == routeRefused && (b.dueAgain.IsZero() || r.again.Before(b.dueAgain)) {
			b.dueAgain = r.again
		}
	}
}

// answered takes the proxy's answers to the oldest registration under way.
func (b *routeBook) answered(answers []*tunnelv1.RouteAnswer, now time.Time) error {
	if len(b.batches) == 0 {
		return protocolFault("an answer to no registration")
	}
	batch := b.batches[0]
	b.batches = b.batches[1:]
	if len(answers) != len(batch.paths) {
		return protocolFault("a registration answered in part")
	}
	accepted, refused := 0, 0
	for i, answer := range answers {
		if answer.GetPath() != batch.paths[i] {
			return protocolFault("a registration answered out of order")
		}
		r := b.routes[batch.paths[i]]
		if r == nil || r.batch != batch {
			continue // withdrawn or changed since
		}
		switch {
		case answer.GetCode() == tunnelv1.RouteAnswer_ACCEPTED && r.doubted:
			b.offer(batch.paths[i], r)
		case answer.GetCode() == tunnelv1.RouteAnswer_ACCEPTED:
			b.accept(batch.paths[i], r)
			accepted++
		default:
			b.refuse(batch.paths[i], r, answer, now)
			if batch.stale {
				r.again = later(now, b.changed)
			}
			refused++
		}
	}
	b.findDue()
	b.ration.tell(now, slog.LevelInfo, "routes registered", "accepted", accepted, "refused", refused)
	return nil
}

func (b *routeBook) accept(path string, r *route) {
	b.move(r, routeAccepted)
	b.log.Debug("route accepted", "route", path)
	r.refusals, r.verdict, r.batch = 0, "", nil
	r.code, r.reasons, r.decision = "", "", ""
}

// refuse has the route offered again later, for a policy may change, and tells
// the operator unless it is old news.
func (b *routeBook) refuse(path string, r *route, answer *tunnelv1.RouteAnswer, now time.Time) {
	b.move(r, routeRefused)
	r.batch, r.doubted = nil, false
	wait := min(offerAgainAfter<<min(r.refusals, 10), offerAgainMost)
	r.refusals++
	r.again = now.Add(wait + rand.N(wait/4))

	code, reasons := answer.GetCode().String(), sayableReasons(answer.GetReasons())
	r.code, r.reasons, r.decision = code, reasons, sayable(answer.GetDecisionId(), 64)
	tell := b.log.Debug
	if verdict := code + ": " + reasons; verdict != r.verdict {
		r.verdict = verdict
		tell = func(message string, facts ...any) { b.ration.tell(now, slog.LevelWarn, message, facts...) }
	}
	facts := []any{"route", path, "code", code, "reasons", reasons,
		"decision", r.decision, "after", r.again.Sub(now).Round(time.Second)}
	tell("route refused, will be offered again", withHint(facts, refusalHints[answer.GetCode()])...)
}

// refusalHints tell the operator what to do about a refused route.
var refusalHints = map[tunnelv1.RouteAnswer_Code]string{
	tunnelv1.RouteAnswer_DENIED:  "have the proxy's policy allow it, or offer another path: the proxy's audit log has the decision, and `sallyport policy eval` explains it",
	tunnelv1.RouteAnswer_OWNED:   "another identity holds the path: offer another, or have that one withdraw it",
	tunnelv1.RouteAnswer_INVALID: "mend the target's entry",
	tunnelv1.RouteAnswer_LIMIT:   "raise that limit, or offer fewer targets",
}

// revoked takes in what the proxy took away. A path that it does not hold means
// nothing. For one that is being offered, the answer is still to come: where that
// accepts the route, either may be the older one, and the route is offered again.
func (b *routeBook) revoked(answers []*tunnelv1.RouteAnswer, now time.Time) {
	for _, answer := range answers {
		r := b.routes[answer.GetPath()]
		switch {
		case r == nil:
		case r.state == routeAccepted:
			b.refuse(r.endpoint.target.Path, r, answer, now)
		case r.state == routeOffered:
			r.doubted = true
		}
	}
	b.findDue()
}

// policyChanged has every refused route offered again at once, but not more often than a
// policy changes: a proxy that says so over and over is no reason to be busy.
func (b *routeBook) policyChanged(now time.Time) {
	if !now.Before(b.changed) { // otherwise it is about to be done
		b.changed = later(now, b.changed.Add(policyPause))
	}
	for _, r := range b.routes {
		if r.state == routeRefused {
			r.again, r.refusals = b.changed, 0
		}
	}
	for _, batch := range b.batches {
		batch.stale = true
	}
	b.findDue()
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// settled says whether each route has its answer.
func (b *routeBook) settled() bool { return len(b.pending) == 0 && len(b.batches) == 0 }

// overdueAt is when the proxy owes an answer for too long, zero if it owes none.
func (b *routeBook) overdueAt() time.Time {
	if len(b.batches) == 0 {
		return time.Time{}
	}
	return b.batches[0].sent.Add(answerTimeout)
}

func (b *routeBook) overdue(now time.Time) bool {
	return len(b.batches) > 0 && !now.Before(b.overdueAt())
}

// forget takes the routes out of the metrics when the session is over.
func (b *routeBook) forget() {
	for _, r := range b.routes {
		b.metrics.routes.WithLabelValues(r.state.String()).Dec()
	}
	b.routes = nil
	b.ration.close()
}

// sayableReasons makes one bounded line of a proxy's reasons.
func sayableReasons(reasons []string) string {
	const most = 8
	said := make([]string, 0, most)
	for _, reason := range reasons[:min(len(reasons), most)] {
		said = append(said, sayable(reason, 200))
	}
	return strings.Join(said, "; ")
}
