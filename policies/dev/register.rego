# METADATA
# title: Who may register which route
# description: |
#   Any agent may register any route, if it is of the proxy's trust domain or has a DNS
#   name. For machines on which nobody has anything to hide from the others.
package sallyport.register

# METADATA
# title: Whether the agent may register the route
# entrypoint: true
default allow := false

allow if input.agent.kind == "dns"

allow if {
	input.agent.kind == "spiffe"
	input.agent.trust_domain != ""
	input.agent.trust_domain == input.proxy.trust_domain
}

# METADATA
# title: What tells the metrics of dev from others
labels := {"env": "dev"}

# METADATA
# title: Why not, for the agent's operator
reasons contains reason if {
	not allow
	reason := sprintf(
		"agent %s is not of the proxy's trust domain %q: give it an identity of that domain",
		[input.agent.id, input.proxy.trust_domain],
	)
}
