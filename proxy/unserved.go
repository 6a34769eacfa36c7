package proxy

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
)

// Bounds of what is said of scrapes that are not served: each is said once in a while,
// and where there are too many kinds of them, of all or of one scraper, no more.
const (
	unservedPause         = time.Hour
	maxUnserved           = 1024
	maxUnservedPerScraper = 256
	// unservedSweep is how often it is looked for what is so long ago that it makes room.
	unservedSweep = time.Minute
)

// unserved remembers which scrapes that were not served were told of.
type unserved struct {
	mu    sync.Mutex
	told  map[wish]time.Time
	of    map[authn.Identity]int
	swept time.Time
}

// wish is who wants what, and what came of it.
type wish struct {
	scraper authn.Identity
	path    string
	outcome Outcome
}

// news says whether a wish was not told of for long, and that it is now.
func (u *unserved) news(w wish, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	at, ok := u.told[w]
	if ok && now.Sub(at) < unservedPause {
		return false
	}
	if !ok && u.fullLocked(w.scraper) {
		u.sweepLocked(now)
		if u.fullLocked(w.scraper) {
			return false
		}
	}
	if u.told == nil {
		u.told, u.of = make(map[wish]time.Time), make(map[authn.Identity]int)
	}
	if _, ok := u.told[w]; !ok {
		u.of[w.scraper]++
	}
	u.told[w] = now
	return true
}

func (u *unserved) fullLocked(scraper authn.Identity) bool {
	return len(u.told) >= maxUnserved || u.of[scraper] >= maxUnservedPerScraper
}

// sweepLocked forgets what may be told again.
func (u *unserved) sweepLocked(now time.Time) {
	if now.Sub(u.swept) < unservedSweep {
		return
	}
	u.swept = now
	for w, at := range u.told {
		if now.Sub(at) < unservedPause {
			continue
		}
		delete(u.told, w)
		if u.of[w.scraper]--; u.of[w.scraper] == 0 {
			delete(u.of, w.scraper)
		}
	}
}

// noticeUnserved tells the operator what the scraper must not learn: whether there is no
// such route, or the policy refuses it, by which decision and why.
func (s scrapes) noticeUnserved(r *http.Request, scraper authn.Identity, path string, cause error) {
	if !s.unserved.news(wish{scraper, path, NotFound}, time.Now()) {
		return
	}
	message, hint := "scrape of a path that no agent has registered",
		"compare the path with the targets of the agent, whose log says whether they were registered"
	if _, ok := s.routes.lookup(path); ok {
		message, hint = "scrape denied by policy", "the audit log has the decision, and `sallyport policy eval` explains it"
	}
	said := []any{"route", path, "scraper", scraper.String(), "remote", r.RemoteAddr, "outcome", string(NotFound)}
	var denied *deniedScrape
	if errors.As(cause, &denied) {
		said = append(said, reasoned(authz.Decision(*denied))...)
	}
	s.log.Warn(message, append(said, "hint", hint)...)
}

// deniedScrape is the decision by which a scrape was denied: for our own log, for a
// scraper must not learn of it.
type deniedScrape authz.Decision

func (d *deniedScrape) Error() string { return "denied by decision " + d.ID }
