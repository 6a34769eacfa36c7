# METADATA
# title: Who may scrape which route
# description: The readers (see readers.rego) may scrape every route, nobody else any.
package sallyport.scrape

import data.sallyport.readers

# METADATA
# title: Whether the scraper may scrape the route
# entrypoint: true
default allow := false

allow if readers.admitted

# METADATA
# title: Why not, for the log of the proxy; the scraper is told nothing
reasons contains readers.refusal if not allow
