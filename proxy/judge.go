package proxy

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// followPolicy judges everything again whenever another policy is in force.
func (p *Proxy) followPolicy(ctx context.Context) {
	defer p.settled.stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.settled.by():
		}
		p.judgeAgain(ctx)
	}
}

// held names a route as one session holds it.
type held struct {
	session *session
	path    string
}

// judgeAgain holds every session, route and scrape in flight against the policy
// in force, and ends what it no longer allows. Agents are told at last that what
// they were denied may be allowed now.
func (p *Proxy) judgeAgain(ctx context.Context) {
	began := time.Now()
	// Asked for before judging, so that a change meanwhile is not missed.
	policy := p.policy.Changed()
	var (
		mu      sync.Mutex
		revoked = make(map[held]bool)
		group   errgroup.Group
	)
	group.SetLimit(p.cores)
	sessions := p.sessions.all()
	for _, s := range sessions {
		group.Go(func() error {
			lost := p.judgeSession(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(revoked, lost)
			return nil
		})
	}
	_ = group.Wait()
	p.settled.judged(policy)
	scrapes := p.judgeFlights(revoked)
	changed := &tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_PolicyChanged{PolicyChanged: &tunnelv1.PolicyChanged{}}}
	for _, s := range sessions {
		s.post(changed)
	}
	took := time.Since(began)
	p.metrics.judging.Observe(took.Seconds())
	p.log.Info("judged by a new policy", "revision", p.policy.Revision(), "sessions", len(sessions),
		"routes_revoked", len(revoked), "scrapes_ended", scrapes, "took", took.Round(time.Millisecond).String())
}

// judgeSession ends the session if it is no longer allowed, and otherwise revokes
// those of its routes that are not. It returns what was revoked.
func (p *Proxy) judgeSession(ctx context.Context, s *session) map[held]bool {
	subject := p.subject(s)
	if event := p.decideSession(ctx, s, subject); !event.Decision.Allow {
		decision := event.Decision
		p.logDenied("session", s, "", decision)
		p.record(event, authz.Revoked)
		p.metrics.revocations.WithLabelValues("session").Inc()
		p.end(s, denial(decision))
		return nil
	}
	revoked := make(map[held]bool)
	var answers []*tunnelv1.RouteAnswer
	kept := 0
	grants := p.routes.grantsOf(s)
	events := p.decideGrants(ctx, s, subject, grants)
	for i, g := range grants {
		path, event := g.route.path, events[i]
		if len(revoked) > 0 && !event.Decision.AnyState {
			// It may have been denied for the number of routes, which are fewer now.
			event = p.decideRegister(ctx, s, subject, g.claim)
		}
		decision := event.Decision
		answer := &tunnelv1.RouteAnswer{Path: path, Code: tunnelv1.RouteAnswer_DENIED, Reasons: decision.Reasons, DecisionId: decision.ID}
		switch {
		case decision.Allow && kept < p.routes.limitFor(decision.Limits):
			kept++
			p.routes.renew(g, newGrant(s, g.claim, decision))
			continue
		case decision.Allow:
			answer.Code, answer.Reasons = tunnelv1.RouteAnswer_LIMIT, []string{p.routes.full(decision.Limits).Error()}
			event.why = answer.Reasons[0]
		}
		if !p.routes.revoke(g) {
			continue // the agent was faster
		}
		revoked[held{s, path}] = true
		answers = append(answers, answer)
		p.logDenied("route", s, path, decision)
		p.record(event, authz.Revoked)
		p.metrics.revocations.WithLabelValues("route").Inc()
	}
	s.revoke(answers)
	return revoked
}

// judgedInARow is how many routes of a session one goroutine decides on: enough for
// what starting it costs.
const judgedInARow = 64

// decideGrants decides on each of the session's routes, as they all are now.
func (p *Proxy) decideGrants(ctx context.Context, s *session, subject *authz.Subject, grants []*grant) []verdict {
	events := make([]verdict, len(grants))
	decide := func(from, to int) {
		for i := from; i < to; i++ {
			events[i] = p.decideRegister(ctx, s, subject, grants[i].claim)
		}
	}
	if len(grants) <= judgedInARow {
		decide(0, len(grants))
		return events
	}
	var group errgroup.Group
	group.SetLimit(p.cores)
	for from := 0; from < len(grants); from += judgedInARow {
		group.Go(func() error {
			decide(from, min(from+judgedInARow, len(grants)))
			return nil
		})
	}
	_ = group.Wait()
	return events
}

// revoke tells the agent, in messages that are not too large.
func (s *session) revoke(answers []*tunnelv1.RouteAnswer) {
	const most = maxMessage / 2
	for len(answers) > 0 {
		n, size := 0, 0
		for n < len(answers) && (n == 0 || size+proto.Size(answers[n]) < most) {
			size += proto.Size(answers[n]) + 8
			n++
		}
		s.post(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Revoke{Revoke: &tunnelv1.Revoke{Routes: answers[:n]}}})
		answers = answers[n:]
	}
}

// judgeFlights ends the scrapes in flight whose route was revoked or whose
// scraper may no longer read it, and returns how many.
func (p *Proxy) judgeFlights(revoked map[held]bool) int {
	ended := 0
	for _, fl := range p.flights.decidedOnes() {
		if fl.grant == nil || !revoked[held{fl.grant.session, fl.request.path}] {
			route, ok := p.routes.lookup(fl.request.path)
			// Another identity may have the path by now.
			ok = ok && (fl.grant == nil || fl.grant.route.owner == route.owner)
			if ok && (scrapes{p}).decide(fl.ctx, fl.scraper, fl.remoteIP, fl.request, route, fl.labels(route), authz.Revoked).Allow {
				continue
			}
		}
		fl.cancel(errRevoked)
		p.metrics.revocations.WithLabelValues("scrape").Inc()
		ended++
	}
	return ended
}

// faulty tells a denial that the policy did not mean from one that it did; a
// policy that has nothing to say denies.
func faulty(d authz.Decision) bool {
	return d.Fault != nil && !errors.Is(d.Fault, authz.ErrUndefined)
}
