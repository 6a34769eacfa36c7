# METADATA
# title: Who may use the admin listener on an address that is not loopback
# description: The readers (see readers.rego) may use all of it, nobody else anything.
package sallyport.admin

import data.sallyport.readers

# METADATA
# title: Whether the request is served
# entrypoint: true
default allow := false

allow if readers.admitted

# METADATA
# title: Why not, for the log of the proxy
reasons contains readers.refusal if not allow
