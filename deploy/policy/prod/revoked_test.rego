package sallyport.revoked_test

import data.sallyport.revoked

serial := "0a1b2c"

key := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

agent := {
	"id": "spiffe://example.org/team-a/node",
	"kind": "spiffe",
	"trust_domain": "example.org",
	"segments": ["team-a", "node"],
	"serial": serial,
	"spki_sha256": key,
}

none := {"ids": {}, "serials": {}, "spki_sha256": {}}

test_nobody if {
	count(revoked.agent) == 0 with input as {"agent": agent} with data.revoked as none
	count(revoked.scraper) == 0 with input as {"scraper": agent} with data.revoked as none
}

test_by_id if {
	every pattern in ["spiffe://example.org/team-a/node", "spiffe://example.org/team-a/*", "spiffe://example.org/*"] {
		list := object.union(none, {"ids": {pattern: "a note"}})
		reason := sprintf("spiffe://example.org/team-a/node is revoked (%q in revoked.ids of the policy's data)", [pattern])
		revoked.agent == {reason} with input as {"agent": agent} with data.revoked as list
		revoked.scraper == {reason} with input as {"scraper": agent} with data.revoked as list
	}
}

test_not_by_the_id_of_another if {
	every pattern in ["spiffe://example.org/team-a", "spiffe://example.org/team-a/node/*", "spiffe://example.com/*"] {
		list := object.union(none, {"ids": {pattern: ""}})
		count(revoked.agent) == 0 with input as {"agent": agent} with data.revoked as list
	}
}

test_by_serial if {
	list := object.union(none, {"serials": {serial: "laptop lost"}})
	reasons := revoked.agent with input as {"agent": agent} with data.revoked as list
	reasons == {"certificate 0a1b2c is revoked (revoked.serials of the policy's data): give the agent a new one"}
}

# An empty note revokes like any other.
test_by_key if {
	list := object.union(none, {"spki_sha256": {key: ""}})
	reasons := revoked.agent with input as {"agent": agent} with data.revoked as list
	reasons == {sprintf("key %s is revoked (revoked.spki_sha256 of the policy's data): give the agent a new one", [key])}
}
