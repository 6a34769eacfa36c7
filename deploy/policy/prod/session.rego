# METADATA
# title: Which agents may stay connected
# description: |
#   All but the revoked, whose sessions end at once. What an agent may do with its
#   session is decided route by route, in register.rego.
package sallyport.session

import data.sallyport.revoked

# METADATA
# title: Whether the agent may hold a session
# entrypoint: true
default allow := false

allow if count(revoked.agent) == 0

# METADATA
# title: Why not, for the agent's operator
reasons contains reason if some reason in revoked.agent
