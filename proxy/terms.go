package proxy

import (
	"fmt"
	"time"

	"github.com/seed-951114d4/sallyport/authz"
)

// terms are what one scrape is held to: the tightest of the configuration, of
// what the policy says of the scraper, and of what it says of the route.
type terms struct {
	timeout  time.Duration
	body     int64
	inflight int64 // of the route; 0: no limit
	// timeoutOf and bodyOf say who set these: that is who may raise them.
	timeoutOf, bodyOf party
	// notAfter is when the scraper's credential ends; zero: never.
	notAfter time.Time
}

// party is who sets a limit.
type party uint8

const (
	theScraper party = iota
	theProxy
	thePolicy
)

// The names of the limits, by who sets them.
var (
	timeoutNames = [...]string{theProxy: "the proxy's SALLYPORT_MAX_SCRAPE_TIMEOUT", thePolicy: "the policy's max_timeout_ms"}
	bodyNames    = [...]string{theProxy: "the proxy's SALLYPORT_MAX_RESPONSE_BYTES", thePolicy: "the policy's max_body_bytes"}
)

// deadline is when a scrape that began then ends, and why.
func (t terms) deadline(began time.Time) (time.Time, error) {
	total, _ := budget(t.timeout)
	end := began.Add(total)
	if !t.notAfter.IsZero() && t.notAfter.Before(end) {
		return t.notAfter, errLapsed
	}
	return end, errDeadline
}

// termsOf takes what the policy says, which only tightens. The scraper's own
// number of scrapes in flight has been looked at by then.
func termsOf(cfg Config, q request, scraper, route authz.Limits) terms {
	t := terms{timeout: q.timeout, body: cfg.MaxResponse, bodyOf: theProxy, inflight: route.MaxInflight}
	if q.clamped {
		t.timeoutOf = theProxy
	}
	t.tighten(scraper)
	t.tighten(route)
	return t
}

func (t *terms) tighten(by authz.Limits) {
	if by.MaxTimeout > 0 && by.MaxTimeout < t.timeout {
		t.timeout, t.timeoutOf = by.MaxTimeout, thePolicy
	}
	if by.MaxBodyBytes > 0 && by.MaxBodyBytes < t.body {
		t.body, t.bodyOf = by.MaxBodyBytes, thePolicy
	}
}

// late is what to say of a target that was not in time, besides how long it had, where
// that was not the scraper's doing; and what to do about it.
func (t terms) late() (limit, hint string) {
	if t.timeoutOf == theScraper {
		return "", hints[TargetTimeout]
	}
	name := timeoutNames[t.timeoutOf]
	return fmt.Sprintf(", the limit being %s of %s", name, t.timeout), "see why the target is slow, or raise " + name
}

// overBody is what to say of a body that outgrew the limit of ours, and what to do.
func (t terms) overBody() (limit, hint string) {
	name := bodyNames[t.bodyOf]
	return fmt.Sprintf("%s of %d bytes", name, t.body), "raise " + name + ", or have the target export less"
}
