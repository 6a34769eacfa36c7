package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
)

// listingChunk is how much of a listing is made before it is sent: all of it where
// there are a few dozen routes, and never more of a fleet's.
const listingChunk = 16 << 10

// listing is one answer of discovery: a JSON array of one group per route. It is
// decided and sent route by route, so that a fleet's costs no more memory than a
// team's, and all of it by one policy: where that changes meanwhile the answer breaks
// off, and Prometheus keeps the targets that it has.
type listing struct {
	scrapes
	ctx     context.Context
	w       http.ResponseWriter
	scraper authz.ScraperInput
	// identity is the scraper's, and remote its connection's.
	identity authn.Identity
	remote   string
	self     authz.ProxyInput
	// judgedBy is the policy by which all routes were judged when the listing began.
	judgedBy <-chan struct{}

	body     bytes.Buffer // what is not sent yet
	headSent bool
	count    int // of the routes that are listed
	withheld withheld
	faults   int   // of the policy
	fault    error // the first one, on the route faultAt
	faultAt  string
}

// run sends the listing. After an error the answer is open if there was no head, and
// to be broken off if there was one.
func (l *listing) run() error {
	left := l.routes.sorted()
	l.body.WriteByte('[')
	for {
		var err error
		if left, err = l.fill(left); err != nil {
			return err
		}
		last := len(left) == 0
		if last {
			l.body.WriteString("]\n")
			l.remember()
		}
		if err := l.send(last); err != nil || last {
			return err
		}
	}
}

// fill decides routes until there is a chunk to send, and returns those that are left.
func (l *listing) fill(left []*route) ([]*route, error) {
	select {
	case l.discovery.turns <- struct{}{}:
		defer func() { <-l.discovery.turns }()
	case <-l.ctx.Done():
		return nil, l.stopped()
	}
	then := time.Now().Add(-l.cfg.Retention)
	for len(left) > 0 && l.body.Len() < listingChunk {
		if l.ctx.Err() != nil {
			return nil, l.stopped()
		}
		// Whoever has the path now: the route may have changed hands.
		route, ok := l.routes.lookup(left[0].path)
		if ok && !route.goneBefore(then) && l.mayScrape(route) {
			if err := l.add(route); err != nil {
				return nil, err
			}
		}
		left = left[1:]
	}
	// Asked for after deciding, so that a change meanwhile is not missed.
	if l.judgedBy != l.policy.Changed() {
		return nil, errStale
	}
	return left, nil
}

func (l *listing) stopped() error {
	cause := context.Cause(l.ctx)
	if errors.Is(cause, errDeadline) || errors.Is(cause, errLapsed) {
		return cause
	}
	return errHungUp
}

// mayScrape asks the policy what it would be asked by a scrape of the route without a
// query that may take as long as any. What is left out of a listing is no attempt to
// read it, so it is not audited.
func (l *listing) mayScrape(route found) bool {
	input := authz.ScrapeInput{
		Scraper: l.scraper,
		Request: authz.ScrapeRequest{Query: url.Values{}, Timeout: l.cfg.MaxScrapeTimeout},
		Route: authz.ScrapeRoute{
			Path: route.route.path, Segments: route.route.segments, Owner: route.owner.String(), Labels: route.labels(),
		},
		Proxy: l.self,
		Now:   time.Now(),
	}
	decision := l.policy.Scrape(context.WithoutCancel(l.ctx), input)
	l.metrics.decided(discoveryAction, decision)
	if faulty(decision) {
		if l.faults++; l.fault == nil {
			l.fault, l.faultAt = decision.Fault, route.route.path
		}
	}
	if !decision.Allow {
		l.withheld.add(input, decision)
	}
	return decision.Allow
}

// add puts the route's group behind those that there are.
func (l *listing) add(route found) error {
	if l.count++; l.count > 1 {
		l.body.WriteByte(',')
	}
	return json.NewEncoder(&l.body).Encode(groupOf(route, l.discovery.target))
}

// send sends what has been decided. Only a listing that is whole by then says how long
// it is.
func (l *listing) send(last bool) error {
	deadline := time.Now().Add(stallTimeout)
	if end, ok := l.ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	if err := http.NewResponseController(l.w).SetWriteDeadline(deadline); err != nil {
		return errors.Join(errHungUp, err)
	}
	if !l.headSent {
		h := l.w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("X-Content-Type-Options", "nosniff")
		if last {
			h.Set("Content-Length", strconv.Itoa(l.body.Len()))
		}
		l.headSent = true
	}
	_, err := l.w.Write(l.body.Bytes())
	l.body.Reset()
	switch {
	case err == nil:
		return nil
	case l.ctx.Err() != nil:
		return l.stopped()
	}
	return errors.Join(errHungUp, err)
}
