package proxy

import (
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// noticeMalformed tells the operator of a path that can be no route's, and what is wrong
// with it. The path may be any bytes.
func (s scrapes) noticeMalformed(r *http.Request, scraper authn.Identity, fault error) {
	sent := shownURI(r.RequestURI)
	path := oneLine(sent, tunnelv1.MaxPath)
	why, hint := malformed(sent, fault)
	s.rejections.absent(scraper, remoteIP(r), path, why)
	if s.unserved.news(wish{scraper, path, NotFound}, time.Now()) {
		s.log.Warn("scrape of what can be no route's path", "route", path, "scraper", scraper.String(), "remote", r.RemoteAddr,
			"outcome", string(NotFound), "reason", why, "hint", hint)
	}
}

// queryMark begins a query, also where a scrape job has it in metrics_path.
var queryMark = regexp.MustCompile(`\?|%3[Ff]`)

// shownURI is what may be shown of what a scraper asked for: no query, which may hold a
// secret, and of a whole URL no authority, which may hold a password.
func shownURI(uri string) string {
	if at := queryMark.FindStringIndex(uri); at != nil {
		uri = uri[:at[0]]
	}
	if strings.HasPrefix(uri, "/") {
		return uri
	}
	scheme, rest, whole := strings.Cut(uri, "://")
	if !whole {
		return uri[strings.LastIndexByte(uri, '@')+1:]
	}
	_, path, _ := strings.Cut(rest, "/")
	return scheme + "://.../" + path
}

// malformed says what is wrong with a path, the likeliest mistakes first.
func malformed(path string, fault error) (why, hint string) {
	const form = "a route matches byte for byte as it is registered: compare the path with the dashboard's routes"
	const job = "set metrics_path of the job to the route; http_sd_configs sets it by itself"
	switch {
	case path == "/metrics":
		return "/metrics is the proxy's own word: does the scrape job lack metrics_path?", job
	case path == "/":
		return "it is / alone: does the scrape job lack metrics_path?", job
	case tunnelv1.CheckPath(strings.TrimSuffix(path, "/")) == nil:
		return "the path ends in a slash", form
	}
	return oneLine("it is not in the form of a path: "+fault.Error(), maxStoryText), form
}
