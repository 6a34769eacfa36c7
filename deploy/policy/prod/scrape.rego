# METADATA
# title: Who may scrape which route
# description: |
#   A scraper may scrape what "scrapers" of the data gives it, unless it is revoked. As in
#   register.rego the most specific entry decides, and its limits hold. An entry is for
#   scrapers with a certificate; with "tokens": true it is for bearer tokens too. A
#   scraper with neither may scrape nothing.
package sallyport.scrape

import data.sallyport.patterns
import data.sallyport.revoked

# METADATA
# title: Whether the scraper may scrape the route
# entrypoint: true
default allow := false

allow if {
	count(revoked.scraper) == 0
	count(granted) > 0
}

# METADATA
# title: The limits of the entry that decides, if it has any
limits := granted[0].limits

# METADATA
# title: Why not, for the log of the proxy; the scraper is told nothing
reasons contains reason if some reason in revoked.scraper

reasons contains "an anonymous scraper may scrape nothing: it must show a certificate or a token" if not identified

reasons contains reason if {
	identified
	count(named) == 0
	reason := sprintf("nothing is granted to %s: add it to \"scrapers\" of the policy's data", [input.scraper.id])
}

reasons contains reason if {
	count(named) > 0
	count(credited) == 0
	reason := sprintf(
		"%s came with a token: the entry of %q in \"scrapers\" of the policy's data is for certificates, unless it says \"tokens\": true",
		[input.scraper.id, named[0]],
	)
}

reasons contains reason if {
	count(credited) > 0
	count(granted) == 0
	reason := sprintf(
		"route %s is not covered by the entry of %q in \"scrapers\" of the policy's data: add the path there",
		[input.route.path, credited[0]],
	)
}

identified if input.scraper.kind in {"spiffe", "dns", "jwt"}

# The patterns of the entries that cover the scraper, those of them that take what it
# showed, and what those say for the route. All begin with the most specific.
named := [who |
	scrapers := data.scrapers
	some who in patterns.of(input.scraper.id)
	scrapers[who]
]

default credited := []

credited := named if input.scraper.kind in {"spiffe", "dns"}

credited := [who |
	scrapers := data.scrapers
	some who in named
	scrapers[who].tokens
] if input.scraper.kind == "jwt"

granted := [entry |
	scrapers := data.scrapers
	some who in credited
	paths := scrapers[who].paths
	some path in patterns.of(input.route.path)
	entry := paths[path]
]
