# METADATA
# title: Who may scrape which route
# description: |
#   A scraper may scrape what "scrapers" of the data gives it, unless it is revoked. As in
#   register.rego the most specific entry decides, and its limits hold. A scraper
#   without a certificate may scrape nothing.
package sallyport.scrape

import data.sallyport.patterns
import data.sallyport.revoked

# METADATA
# title: Whether the scraper may scrape the route
# entrypoint: true
default allow := false

allow if {
	count(revoked.scraper) == 0
	certified
	count(granted) > 0
}

# METADATA
# title: The limits of the entry that decides, if it has any
limits := granted[0].limits

# METADATA
# title: Why not, for the log of the proxy; the scraper is told nothing
reasons contains reason if some reason in revoked.scraper

reasons contains "a scraper must show a certificate: this one is anonymous or has a token" if not certified

reasons contains reason if {
	certified
	count(named) == 0
	reason := sprintf("nothing is granted to %s: add it to \"scrapers\" of the policy's data", [input.scraper.id])
}

reasons contains reason if {
	count(named) > 0
	count(granted) == 0
	reason := sprintf(
		"route %s is not covered by the entry of %q in \"scrapers\" of the policy's data: add the path there",
		[input.route.path, named[0]],
	)
}

certified if input.scraper.kind in {"spiffe", "dns"}

# The patterns of the entries that cover the scraper, and what those say for the route.
# Both begin with the most specific.
named := [who |
	scrapers := data.scrapers
	some who in patterns.of(input.scraper.id)
	scrapers[who]
]

granted := [entry |
	scrapers := data.scrapers
	some who in named
	paths := scrapers[who].paths
	some path in patterns.of(input.route.path)
	entry := paths[path]
]
