# METADATA
# title: Who may scrape which route
# description: |
#   Prometheus may scrape every route: a SPIFFE ID of the proxy's trust domain with the
#   path /prometheus or one below it, or a DNS name whose first label is prometheus. A
#   team's own Prometheus, such as spiffe://example.org/team-a/prometheus, may scrape the
#   team's routes. The certificate of any other reads nothing, nor does a revoked one.
#   Where the proxy takes bearer tokens, one for a SPIFFE ID is as good as a certificate.
package sallyport.scrape

import data.sallyport.revoked

# METADATA
# title: Whether the scraper may scrape the route
# entrypoint: true
default allow := false

allow if {
	count(revoked.scraper) == 0
	for_all_teams
}

allow if {
	count(revoked.scraper) == 0
	for_its_team
}

# METADATA
# title: Why not, for the log of the proxy; the scraper is told nothing
reasons contains reason if some reason in revoked.scraper

reasons contains "an anonymous scraper may scrape nothing" if input.scraper.kind == "anonymous"

reasons contains reason if {
	input.scraper.kind != "anonymous"
	not for_all_teams
	not for_its_team
	reason := sprintf(
		"%s may not scrape %s: its ID must be /prometheus or below it, or /%s/prometheus, in the proxy's trust domain %q",
		[input.scraper.id, input.route.path, input.route.segments[0], input.proxy.trust_domain],
	)
}

for_all_teams if {
	of_our_own
	input.scraper.segments[0] == "prometheus"
}

for_all_teams if {
	input.scraper.kind == "dns"
	split(input.scraper.id, ".")[0] == "prometheus"
}

for_its_team if {
	of_our_own
	input.scraper.segments[1] == "prometheus"
	input.scraper.segments[0] == input.route.segments[0]
}

of_our_own if {
	input.scraper.kind in {"spiffe", "jwt"}
	input.scraper.trust_domain != ""
	input.scraper.trust_domain == input.proxy.trust_domain
}
