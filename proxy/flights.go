package proxy

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/seed-951114d4/sallyport/authn"
)

// errRevoked ends a scrape that the policy in force no longer allows.
var errRevoked = errors.New("the policy no longer allows this scrape")

// flight is one scrape from request to last byte.
type flight struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	token  string // that its scraper came with instead of a certificate
	// The rest belongs to the lock of flights, and is set once it is decided.
	decided  bool
	scraper  authn.Identity
	remoteIP string
	request  request
	grant    *grant // whose lane carries it; nil while it waits for one
	span     *span  // nil: it is not traced; for its own goroutine only
}

// flights are the scrapes in flight: so that a stop can wait for them, a change
// of the policy can judge them again, and their number can be limited.
type flights struct {
	mu        sync.Mutex
	all       map[*flight]struct{}
	byScraper map[authn.Identity]int64
	closing   bool
	none      chan struct{}
}

func newFlights() *flights {
	return &flights{all: make(map[*flight]struct{}), byScraper: make(map[authn.Identity]int64), none: make(chan struct{})}
}

// enter lets a scrape in; nil once close has been called.
func (f *flights) enter(ctx context.Context, token string) *flight {
	ctx, cancel := context.WithCancelCause(ctx)
	fl := &flight{ctx: ctx, cancel: cancel, token: token}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		cancel(nil)
		return nil
	}
	f.all[fl] = struct{}{}
	return fl
}

// decide notes what was allowed, so that it can be judged again; false: the
// scraper has as many scrapes in flight as limit says (0: no limit).
func (f *flights) decide(fl *flight, scraper authn.Identity, remoteIP string, q request, limit int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !fl.decided {
		f.byScraper[scraper]++
	}
	fl.decided, fl.scraper, fl.remoteIP, fl.request = true, scraper, remoteIP, q
	return limit <= 0 || f.byScraper[scraper] <= limit
}

// trace notes the span of the scrape.
func (f *flights) trace(fl *flight, s *span) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.span = s
}

// carry notes whose lane carries the scrape.
func (f *flights) carry(fl *flight, g *grant) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.grant = g
}

func (f *flights) leave(fl *flight) {
	fl.cancel(nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, fl)
	if fl.decided {
		if f.byScraper[fl.scraper]--; f.byScraper[fl.scraper] == 0 {
			delete(f.byScraper, fl.scraper)
		}
	}
	if f.closing && len(f.all) == 0 {
		close(f.none)
	}
}

// count is how many scrapes are in flight.
func (f *flights) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all)
}

// everyOne is every scrape in flight. Only ctx, cancel and token may be used.
func (f *flights) everyOne() []*flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.all))
}

// labels are those of the grant that carries the scrape, as they are now, or those
// by which it would be allowed.
func (fl *flight) labels(now found) map[string]string {
	for _, g := range now.grants {
		if fl.grant != nil && g.session == fl.grant.session {
			return g.labels
		}
	}
	return now.labels()
}

// decidedOnes are copies of the flights that were allowed. Those that are still
// being decided look at the policy's revision themselves.
func (f *flights) decidedOnes() []flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	decided := make([]flight, 0, len(f.all))
	for fl := range f.all {
		if fl.decided {
			decided = append(decided, *fl)
		}
	}
	return decided
}

// close lets no scrape in any more. The channel is closed when the last has left.
func (f *flights) close() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closing {
		f.closing = true
		if len(f.all) == 0 {
			close(f.none)
		}
	}
	return f.none
}

func (f *flights) closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closing
}
