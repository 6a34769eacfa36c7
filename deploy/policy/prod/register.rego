# METADATA
# title: Who may register which route
# description: |
#   An agent may register what "grants" of the data gives it, unless it is revoked. One
#   grant decides: of the identity patterns that cover the agent and have a path pattern
#   that covers the route, the most specific one, and in it the most specific path. The
#   limits and labels of that grant hold; those of wider ones are not added.
package sallyport.register

import data.sallyport.patterns
import data.sallyport.revoked

# METADATA
# title: Whether the agent may register the route
# entrypoint: true
default allow := false

allow if {
	count(revoked.agent) == 0
	count(granted) > 0
}

# METADATA
# title: The limits of the grant that decides, if it has any
limits := granted[0].limits

# METADATA
# title: The labels of the grant that decides, if it has any
labels := granted[0].labels

# METADATA
# title: Why not, for the agent's operator
reasons contains reason if {
	not allow
	some reason in refusals
}

refusals contains reason if some reason in revoked.agent

refusals contains reason if {
	count(named) == 0
	reason := sprintf("nothing is granted to %s: add it to \"grants\" of the policy's data", [input.agent.id])
}

refusals contains reason if {
	count(named) > 0
	count(granted) == 0
	reason := sprintf(
		"route %s is not covered by the grant of %q: add the path there, or register one that is granted",
		[input.route.path, named[0]],
	)
}

# The patterns of the grants that cover the agent, and what those grant for the route.
# Both begin with the most specific.
named := [who |
	grants := data.grants
	some who in patterns.of(input.agent.id)
	grants[who]
]

granted := [grant |
	grants := data.grants
	some who in named
	paths := grants[who].paths
	some path in array.concat(home, patterns.of(input.route.path))
	grant := paths[path]
]

# "~" is the path of the agent's own ID, as it is one's own folder to a shell, and "~/*"
# all that is below. They go before all other patterns.
default home := []

home := ["~"] if input.route.segments == input.agent.segments

home := ["~/*"] if {
	count(input.route.segments) > depth
	array.slice(input.route.segments, 0, depth) == input.agent.segments
}

# How deep the agent's home is. One that has no segments has none: it would be at home
# everywhere.
depth := n if {
	n := count(input.agent.segments)
	n > 0
}
