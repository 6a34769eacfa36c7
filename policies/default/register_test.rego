package sallyport.register_test

import data.sallyport.register

agent := {
	"id": "spiffe://example.org/team-a/node",
	"kind": "spiffe",
	"trust_domain": "example.org",
	"segments": ["team-a", "node"],
}

dns_agent := {
	"id": "node.example.org",
	"kind": "dns",
	"trust_domain": "",
	"segments": ["node.example.org"],
}

ours := {"id": "spiffe://example.org/proxy", "trust_domain": "example.org"}

route(path) := {"path": path, "segments": split(trim_prefix(path, "/"), "/")}

offer(from, path) := {"agent": from, "route": route(path), "proxy": ours}

test_own_prefix if {
	every path in ["/team-a/node", "/team-a/node/disks", "/team-a/node/disks/sda"] {
		register.allow with input as offer(agent, path)
		count(register.reasons) == 0 with input as offer(agent, path)
	}
}

test_nothing_beside if {
	every path in ["/team-a", "/team-a/node2", "/team-a/nod", "/team-b/node", "/node", "/x/team-a/node", "/Team-a/node"] {
		not register.allow with input as offer(agent, path)
	}
}

test_reason_names_the_prefix if {
	reasons := register.reasons with input as offer(agent, "/team-b/node")
	reasons == {"route /team-b/node is outside of /team-a/node, the prefix of spiffe://example.org/team-a/node"}
}

test_no_segments_own_nothing if {
	nobody := object.union(agent, {"segments": []})
	not register.allow with input as offer(nobody, "/team-a")
}

test_foreign_domain if {
	foreign := object.union(agent, {
		"id": "spiffe://example.com/team-a/node",
		"trust_domain": "example.com",
	})
	not register.allow with input as offer(foreign, "/team-a/node")
	reasons := register.reasons with input as offer(foreign, "/team-a/node")
	count(reasons) == 1
	some reason in reasons
	startswith(reason, "agent spiffe://example.com/team-a/node is not of trust domain \"example.org\"")
}

test_proxy_without_a_domain if {
	bare := object.union(agent, {"trust_domain": ""})
	nameless := object.union(offer(bare, "/team-a/node"), {"proxy": {"id": "proxy.example.org", "trust_domain": ""}})
	not register.allow with input as nameless
	reasons := register.reasons with input as nameless
	reasons == {"the proxy is of no trust domain, so it admits no SPIFFE ID, such as spiffe://example.org/team-a/node"}
}

test_dns_agent if {
	register.allow with input as offer(dns_agent, "/node.example.org")
	register.allow with input as offer(dns_agent, "/node.example.org/disks")
	not register.allow with input as offer(dns_agent, "/node")
	not register.allow with input as offer(dns_agent, "/node.example.org.evil")
}

test_unknown_kind if {
	stranger := object.union(agent, {"kind": "anonymous"})
	not register.allow with input as offer(stranger, "/team-a/node")
}
