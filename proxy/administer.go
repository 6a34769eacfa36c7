package proxy

import (
	"context"
	"net/http"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
)

// AdminPolicy decides who may use the admin listener from another machine. A zero
// Decision denies; *authz.Engine is one.
type AdminPolicy interface {
	Admin(context.Context, authz.AdminInput) authz.Decision
}

// MayAdminister says whether a request on the admin listener, that came from another
// machine over a connection of authn.ListenHTTPS, may be served: 200, or a status and a
// line of text to refuse it with. A no is audited.
func (p *Proxy) MayAdminister(r *http.Request, policy AdminPolicy) (status int, text string) {
	peer, ok := authn.PeerFromContext(r.Context())
	switch {
	case ok:
	case authn.Lapsed(r.Context()) != nil:
		return http.StatusUnauthorized, "the client certificate is no longer good: connect again with another"
	default:
		return http.StatusUnauthorized, "a client certificate is needed"
	}
	scraper := authz.ScraperOf(peer.Identity)
	scraper.RemoteIP = remoteIP(r)
	input := authz.AdminInput{
		Scraper: scraper, Request: authz.AdminRequest{Method: r.Method, Path: r.URL.Path}, Proxy: p.self(), Now: time.Now(),
	}
	decision := policy.Admin(context.WithoutCancel(r.Context()), input)
	p.metrics.decided(adminAction, decision)
	if decision.Allow {
		return http.StatusOK, ""
	}
	event := verdict{document: input.JSON, Event: authz.Event{
		Time: input.Now, Action: "admin", Identity: scraper.ID, Serial: peer.Serial(), Route: oneLine(r.URL.Path, maxStoryText), RemoteIP: scraper.RemoteIP,
		TLSGroup: peer.GroupName(), TLSSuite: peer.SuiteName(), NotAfter: peer.NotAfter, Decision: decision, Digest: input.Digest,
	}}
	p.record(event, authz.Denied)
	if faulty(decision) {
		p.log.Error("policy fault, administration denied", "path", r.URL.Path, "scraper", scraper.ID, "decision", decision.ID, "fault", decision.Fault)
	}
	return http.StatusForbidden, "the policy does not allow this (decision " + decision.ID + ")"
}
