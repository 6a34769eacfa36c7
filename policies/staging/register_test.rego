package sallyport.register_test

import data.sallyport.register

node := {
	"id": "spiffe://example.org/team-a/node",
	"kind": "spiffe",
	"trust_domain": "example.org",
	"segments": ["team-a", "node"],
	"serial": "0a1b2c",
	"spki_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}

dns_node := object.union(node, {
	"id": "node.example.org",
	"kind": "dns",
	"trust_domain": "",
	"segments": ["node.example.org"],
})

nobody_revoked := {"ids": {}, "serials": {}, "spki_sha256": {}}

offer(from, path) := {
	"agent": from,
	"route": {"path": path, "segments": split(trim_prefix(path, "/"), "/")},
	"proxy": {"id": "spiffe://example.org/proxy", "trust_domain": "example.org"},
}

test_routes_of_the_team if {
	every path in ["/team-a", "/team-a/node", "/team-a/other/disks"] {
		register.allow with input as offer(node, path) with data.revoked as nobody_revoked
		count(register.reasons) == 0 with input as offer(node, path) with data.revoked as nobody_revoked
	}
}

test_routes_of_others if {
	every path in ["/team-b/node", "/team-a2/node", "/team", "/x/team-a"] {
		not register.allow with input as offer(node, path) with data.revoked as nobody_revoked
	}
	reasons := register.reasons with input as offer(node, "/team-b/node") with data.revoked as nobody_revoked
	reasons == {"route /team-b/node is not the agent's: spiffe://example.org/team-a/node may register what begins with /team-a"}
}

test_dns_name if {
	register.allow with input as offer(dns_node, "/node.example.org/disks") with data.revoked as nobody_revoked
	not register.allow with input as offer(dns_node, "/team-a/node") with data.revoked as nobody_revoked
}

test_foreign_domain if {
	foreign := object.union(node, {"id": "spiffe://example.com/team-a/node", "trust_domain": "example.com"})
	not register.allow with input as offer(foreign, "/team-a/node") with data.revoked as nobody_revoked
	reasons := register.reasons with input as offer(foreign, "/team-a/node") with data.revoked as nobody_revoked
	reasons == {"agent spiffe://example.com/team-a/node is not of the proxy's trust domain \"example.org\": give it an identity of that domain"}
}

test_proxy_without_a_domain if {
	bare := object.union(node, {"trust_domain": ""})
	nameless := object.union(offer(bare, "/team-a/node"), {"proxy": {"id": "proxy", "trust_domain": ""}})
	not register.allow with input as nameless with data.revoked as nobody_revoked
}

test_revoked if {
	revoked := object.union(nobody_revoked, {"serials": {node.serial: "laptop lost"}})
	not register.allow with input as offer(node, "/team-a/node") with data.revoked as revoked
	count(register.reasons) == 1 with input as offer(node, "/team-a/node") with data.revoked as revoked
}

test_obligations if {
	limits := register.limits with input as offer(node, "/team-a/node") with data.limits as {"max_routes": 7}
	limits == {"max_routes": 7}
	labels := register.labels with input as offer(node, "/team-a/node")
	labels == {"env": "staging", "team": "team-a"}
}
