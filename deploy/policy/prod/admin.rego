# METADATA
# title: Who may use the admin listener on an address that is not loopback
# description: |
#   Those in "admins" of the data may read the paths that stand there, unless they are
#   revoked. "/*" is everything, the dashboard at / included. Nobody may do more than read.
package sallyport.admin

import data.sallyport.patterns
import data.sallyport.revoked

# METADATA
# title: Whether the request is served
# entrypoint: true
default allow := false

allow if {
	count(revoked.scraper) == 0
	input.request.method in {"GET", "HEAD"}
	input.scraper.kind in {"spiffe", "dns"}
	some who in patterns.of(input.scraper.id)
	some path in patterns.of(input.request.path)
	data.admins[who].paths[path]
}

# METADATA
# title: Why not, for the log of the proxy
reasons contains reason if some reason in revoked.scraper

reasons contains reason if {
	not allow
	reason := sprintf(
		"%q may not %s %s: \"admins\" of the policy's data says who may read what",
		[input.scraper.id, input.request.method, input.request.path],
	)
}
