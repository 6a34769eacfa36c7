package proxy

import (
	"time"

	"github.com/seed-951114d4/sallyport/authz"
)

// terms are what one scrape is held to: the tightest of the configuration, of
// what the policy says of the scraper, and of what it says of the route.
type terms struct {
	timeout  time.Duration
	body     int64
	inflight int64 // of the route; 0: no limit
	// notAfter is when the scraper's credential ends; zero: never.
	notAfter time.Time
}

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
	t := terms{timeout: q.timeout, body: cfg.MaxResponse, inflight: route.MaxInflight}
	for _, limits := range []authz.Limits{scraper, route} {
		if limits.MaxTimeout > 0 {
			t.timeout = min(t.timeout, limits.MaxTimeout)
		}
		if limits.MaxBodyBytes > 0 {
			t.body = min(t.body, limits.MaxBodyBytes)
		}
	}
	return t
}
