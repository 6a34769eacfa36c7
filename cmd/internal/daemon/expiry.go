package daemon

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
)

// lookAgain is how long the clock is trusted: it may be set, or the machine sleep.
const lookAgain = 10 * time.Minute

// expiry says that our own certificate ends soon and has no successor, and that it has
// ended: each once, and early enough to do something about it.
type expiry struct {
	source  authn.Source
	renewal string // what to do about it
	log     *slog.Logger

	last          *authn.Material // nil: there was none yet
	warned, ended *tls.Certificate
}

func (e *expiry) watch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := e.source.Changed()
		timer.Reset(e.look(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer.C:
		}
	}
}

// look returns when to look again.
func (e *expiry) look(now time.Time) time.Duration {
	if material, err := e.source.Material(); err == nil {
		e.last = material
	}
	if e.last == nil {
		return lookAgain
	}
	certificate, end := e.last.Certificate, e.last.NotAfter()
	soon := end.Add(-end.Sub(certificate.Leaf.NotBefore) / 6)
	switch {
	case now.Before(soon):
		return min(soon.Sub(now), lookAgain)
	case now.Before(end):
		if e.warned != certificate {
			e.log.Warn("our certificate ends soon and has no successor", "id", e.last.Identity.String(), "not_after", end, "hint", e.renewal)
			e.warned = certificate
		}
		return min(end.Sub(now), lookAgain)
	case e.ended != certificate:
		e.log.Error("our certificate has ended: nobody can connect by it", "id", e.last.Identity.String(), "not_after", end, "hint", e.renewal)
		e.ended = certificate
	}
	return lookAgain
}
