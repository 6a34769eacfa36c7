package sallyport.session_test

import data.sallyport.session

agent := {
	"id": "spiffe://example.org/team-a/node",
	"kind": "spiffe",
	"trust_domain": "example.org",
	"segments": ["team-a", "node"],
	"serial": "0a1b2c",
	"spki_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}

revoked := {"ids": {}, "serials": {"0a1b2c": "laptop lost"}, "spki_sha256": {}}

test_revoked if {
	not session.allow with input as {"agent": agent} with data.revoked as revoked
	reasons := session.reasons with input as {"agent": agent} with data.revoked as revoked
	count(reasons) == 1
}

test_others if {
	other := object.union(agent, {"serial": "0a1b2d"})
	session.allow with input as {"agent": other} with data.revoked as revoked
	count(session.reasons) == 0 with input as {"agent": other} with data.revoked as revoked
}
