# METADATA
# title: Who may scrape which route
# description: |
#   Prometheus may scrape every route: a SPIFFE ID of the proxy's own trust domain
#   with the path /prometheus or one below it, or a DNS name whose first label is
#   prometheus. The certificate of an agent reads nothing. Where the proxy takes bearer
#   tokens, one for such a SPIFFE ID is as good as a certificate.
package sallyport.scrape

# METADATA
# title: Whether the scraper may scrape the route
# entrypoint: true
default allow := false

allow if {
	input.scraper.kind in {"spiffe", "jwt"}
	input.scraper.trust_domain != ""
	input.scraper.trust_domain == input.proxy.trust_domain
	input.scraper.segments[0] == "prometheus"
}

allow if {
	input.scraper.kind == "dns"
	startswith(input.scraper.id, "prometheus.")
}

allow if {
	input.scraper.kind == "dns"
	input.scraper.id == "prometheus"
}

# METADATA
# title: Why not, for the log of the proxy; the scraper is told nothing
reasons contains reason if {
	not allow
	input.scraper.kind != "anonymous"
	reason := sprintf("%s is not Prometheus: its ID must be %s", [input.scraper.id, wanted])
}

reasons contains "an anonymous scraper may scrape nothing" if input.scraper.kind == "anonymous"

default wanted := "a DNS name whose first label is prometheus"

wanted := sprintf("spiffe://%s/prometheus or below, or a DNS name whose first label is prometheus", [domain]) if {
	domain := input.proxy.trust_domain
	domain != ""
}
