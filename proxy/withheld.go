package proxy

import (
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
)

// withheld is what a listing leaves out because the policy does not let its scraper read
// it. Most scrapers may read a part only, so that single ones are no news. But where all
// of it is left out the scraper is hardly the one that it is meant to be, and all that it
// sees is an empty list.
type withheld struct {
	count    int
	input    authz.ScrapeInput // of the first
	decision authz.Decision
}

func (h *withheld) add(input authz.ScrapeInput, d authz.Decision) {
	if h.count++; h.count == 1 {
		h.input, h.decision = input, d
	}
}

// remember tells people of a listing that has nothing although there are routes, and that
// a later one has something.
func (l *listing) remember() {
	event := authz.Event{
		Time: time.Now(), Action: "scrape", Effect: authz.Admitted, Identity: l.scraper.ID, Route: DiscoveryPath, RemoteIP: l.scraper.RemoteIP,
	}
	if l.count > 0 {
		l.rejections.note(verdict{Event: event})
		return
	}
	if l.withheld.count == 0 {
		return
	}
	event.Effect, event.Decision = authz.Denied, l.withheld.decision
	if peer, ok := authn.PeerFromContext(l.ctx); ok {
		event.Serial = peer.Serial()
	}
	l.rejections.note(verdict{Event: event, document: l.withheld.input.JSON})
	if l.unserved.news(wish{l.identity, DiscoveryPath, NotFound}, event.Time) {
		l.log.Warn("discovery shows a scraper nothing", append(reasoned(l.withheld.decision),
			"scraper", l.scraper.ID, "remote", l.remote, "routes", l.withheld.count, "first", l.withheld.input.Route.Path,
			"hint", "the policy lets it read none of the routes: does the job have the certificate that it should? Refusals on the dashboard has the first decision, to be made again")...)
	}
}

// reasoned is what the log says of a decision: which it was and, in one line, why not.
func reasoned(d authz.Decision) []any {
	said := []any{"decision", d.ID}
	if len(d.Reasons) > 0 {
		said = append(said, "reasons", oneLine(strings.Join(d.Reasons, "; "), maxStoryText))
	}
	return said
}
