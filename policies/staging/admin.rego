# METADATA
# title: Who may use the admin listener on an address that is not loopback
# description: |
#   Operators may use all of it: a SPIFFE ID of the proxy's own trust domain with the
#   path /admin or one below it, or a DNS name whose first label is admin. Prometheus
#   (see scrape.rego) may read /metrics. Nobody else sees anything, nor do the revoked.
package sallyport.admin

import data.sallyport.revoked

# METADATA
# title: Whether the request is served
# entrypoint: true
default allow := false

allow if {
	count(revoked.scraper) == 0
	"admin" in roles
}

allow if {
	count(revoked.scraper) == 0
	"prometheus" in roles
	input.request.method == "GET"
	input.request.path == "/metrics"
}

# METADATA
# title: Why not, for the log of the proxy
reasons contains reason if some reason in revoked.scraper

reasons contains reason if {
	count(revoked.scraper) == 0
	not allow
	reason := sprintf(
		"%q may not %s %s: its ID must be %s",
		[input.scraper.id, input.request.method, input.request.path, wanted],
	)
}

default wanted := "a DNS name whose first label is admin"

wanted := sprintf("spiffe://%s/admin or below, or a DNS name whose first label is admin", [domain]) if {
	domain := input.proxy.trust_domain
	domain != ""
}

roles contains input.scraper.segments[0] if {
	input.scraper.kind == "spiffe"
	input.scraper.trust_domain != ""
	input.scraper.trust_domain == input.proxy.trust_domain
}

roles contains split(input.scraper.id, ".")[0] if input.scraper.kind == "dns"
