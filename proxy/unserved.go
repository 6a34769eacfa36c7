package proxy

import (
	"net/http"
	"sync"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
)

// Bounds of what is said of scrapes that are not served: each is said once in a while,
// and where there are too many kinds of them, no more.
const (
	unservedPause = time.Hour
	maxUnserved   = 1024
)

// unserved remembers which scrapes that were not served were told of.
type unserved struct {
	mu   sync.Mutex
	told map[wish]time.Time
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
	if at, ok := u.told[w]; ok && now.Sub(at) < unservedPause {
		return false
	}
	if len(u.told) >= maxUnserved {
		for other, at := range u.told {
			if now.Sub(at) >= unservedPause {
				delete(u.told, other)
			}
		}
		if len(u.told) >= maxUnserved {
			return false
		}
	}
	if u.told == nil {
		u.told = make(map[wish]time.Time)
	}
	u.told[w] = now
	return true
}

// noticeUnserved tells the operator what the scraper must not learn: whether there is no
// such route, or the policy refuses it.
func (s scrapes) noticeUnserved(r *http.Request, scraper authn.Identity, path string) {
	if !s.unserved.news(wish{scraper, path, NotFound}, time.Now()) {
		return
	}
	message, hint := "scrape of a path that no agent has registered",
		"compare the path with the targets of the agent, whose log says whether they were registered"
	if _, ok := s.routes.lookup(path); ok {
		message, hint = "scrape denied by policy", "the audit log has the decision, and `sallyport policy eval` explains it"
	}
	s.log.Warn(message, "route", path, "scraper", scraper.String(), "remote", r.RemoteAddr, "outcome", string(NotFound), "hint", hint)
}
