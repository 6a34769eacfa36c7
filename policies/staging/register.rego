# METADATA
# title: Who may register which route
# description: |
#   A team's agents may register the team's routes: the team is the first segment of the
#   ID, so spiffe://example.org/team-a/node may register /team-a and all below it. The
#   agent must be of the proxy's trust domain, or have a DNS name, which then is its
#   team. It must not be revoked.
package sallyport.register

import data.sallyport.revoked

# METADATA
# title: Whether the agent may register the route
# entrypoint: true
default allow := false

allow if {
	count(revoked.agent) == 0
	of_our_own
	of_its_team
}

# METADATA
# title: The same limits for every agent, from the data
limits := data.limits

# METADATA
# title: What tells the metrics of staging, and of each team, from others
labels := {"env": "staging", "team": input.agent.segments[0]}

# METADATA
# title: Why not, for the agent's operator
reasons contains reason if {
	not allow
	some reason in refusals
}

refusals contains reason if some reason in revoked.agent

refusals contains reason if {
	not of_our_own
	reason := sprintf(
		"agent %s is not of the proxy's trust domain %q: give it an identity of that domain",
		[input.agent.id, input.proxy.trust_domain],
	)
}

refusals contains reason if {
	not of_its_team
	reason := sprintf(
		"route %s is not the agent's: %s may register what begins with /%s",
		[input.route.path, input.agent.id, input.agent.segments[0]],
	)
}

of_our_own if input.agent.kind == "dns"

of_our_own if {
	input.agent.kind == "spiffe"
	input.agent.trust_domain != ""
	input.agent.trust_domain == input.proxy.trust_domain
}

of_its_team if input.route.segments[0] == input.agent.segments[0]
