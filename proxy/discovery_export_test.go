package proxy

import (
	"context"
	"encoding/json"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
)

// Group is the target group, in JSON, of a route whose agent says these things.
func Group(path, target string, labels map[string]string, agent string, gone bool) ([]byte, error) {
	f := found{route: &route{path: path}, owner: authn.AnonymousIdentity()}
	if gone {
		f.lost = &lost{since: time.Now(), labels: labels, agent: agent}
	} else {
		f.grants = []*grant{{session: &session{agent: agent}, labels: labels}}
	}
	return json.Marshal(groupOf(f, target))
}

// Target is what Prometheus connects to.
func Target(cfg Config) string { return cfg.target() }

// WarmUp returns how much of the warm-up is left, while run runs.
func WarmUp(trust authn.Trust, warmup time.Duration) (run func(context.Context), left func() time.Duration) {
	d := newDiscovery(Config{})
	return func(ctx context.Context) { d.warmUp(ctx, trust, warmup) }, func() time.Duration { return d.cold(warmup) }
}
