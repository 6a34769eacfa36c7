# METADATA
# title: Who may register which route
# description: |
#   An agent may register its own prefix: the path of its SPIFFE ID and all below
#   it. Segments are compared, not letters: spiffe://example.org/team-a/node may
#   register /team-a/node and /team-a/node/disks, but not /team-a/node2.
#   The agent must be of the trust domain of the proxy. An agent that has a DNS name
#   instead of a SPIFFE ID may register /<name> and below.
package sallyport.register

# METADATA
# title: Whether the agent may register the route
# entrypoint: true
default allow := false

allow if {
	of_our_own
	below_its_prefix
}

# METADATA
# title: Why not, for the agent's operator
reasons contains reason if {
	not allow
	some reason in refusals
}

refusals contains reason if {
	not of_our_own
	input.proxy.trust_domain != ""
	reason := sprintf(
		"agent %s is not of trust domain %q: give it an identity of that domain, or use a policy that admits others",
		[input.agent.id, input.proxy.trust_domain],
	)
}

refusals contains reason if {
	not of_our_own
	input.proxy.trust_domain == ""
	reason := sprintf("the proxy is of no trust domain, so it admits no SPIFFE ID, such as %s", [input.agent.id])
}

refusals contains reason if {
	not below_its_prefix
	reason := sprintf(
		"route %s is outside of /%s, the prefix of %s",
		[input.route.path, concat("/", input.agent.segments), input.agent.id],
	)
}

of_our_own if input.agent.kind == "dns"

of_our_own if {
	input.agent.kind == "spiffe"
	input.agent.trust_domain != ""
	input.agent.trust_domain == input.proxy.trust_domain
}

below_its_prefix if array.slice(input.route.segments, 0, depth) == input.agent.segments

# How long the prefix is. An agent that has no segments has none: it would own every route.
depth := n if {
	n := count(input.agent.segments)
	n > 0
}
