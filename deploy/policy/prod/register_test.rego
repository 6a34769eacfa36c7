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

offer(from, path) := {
	"agent": from,
	"route": {"path": path, "segments": split(trim_prefix(path, "/"), "/")},
}

# Who may register what is judged with grants of the tests' own, never with those of
# the data file: edit that freely.
nobody_revoked := {"ids": {}, "serials": {}, "spki_sha256": {}}

test_exact_pattern if {
	grants := {"spiffe://example.org/team-a/node": {"paths": {"/db": {}}}}
	register.allow with input as offer(node, "/db") with data.grants as grants with data.revoked as nobody_revoked
	count(register.reasons) == 0 with input as offer(node, "/db")
		with data.grants as grants
		with data.revoked as nobody_revoked

	every path in ["/db/x", "/d", "/db2", "/DB", "/x/db"] {
		not register.allow with input as offer(node, path)
			with data.grants as grants
			with data.revoked as nobody_revoked
	}
}

test_path_below if {
	grants := {"spiffe://example.org/team-a/node": {"paths": {"/db/*": {}}}}
	every path in ["/db/x", "/db/x/y"] {
		register.allow with input as offer(node, path) with data.grants as grants with data.revoked as nobody_revoked
	}
	every path in ["/db", "/db2/x", "/x/db/x"] {
		not register.allow with input as offer(node, path)
			with data.grants as grants
			with data.revoked as nobody_revoked
	}
}

test_every_path if {
	grants := {"spiffe://example.org/team-a/node": {"paths": {"/*": {}}}}
	every path in ["/db", "/db/x", "/a/b/c/d/e/f"] {
		register.allow with input as offer(node, path) with data.grants as grants with data.revoked as nobody_revoked
	}
}

test_identity_below if {
	every who in ["spiffe://example.org/team-a/*", "spiffe://example.org/*"] {
		grants := {who: {"paths": {"/db": {}}}}
		register.allow with input as offer(node, "/db") with data.grants as grants with data.revoked as nobody_revoked
	}
	every who in ["spiffe://example.org/team-a", "spiffe://example.org/team-a/node/*", "spiffe://example.org/team/*", "spiffe://example.com/*"] {
		grants := {who: {"paths": {"/*": {}}}}
		not register.allow with input as offer(node, "/db")
			with data.grants as grants
			with data.revoked as nobody_revoked
	}
}

test_own_path if {
	grants := {"spiffe://example.org/team-a/*": {"paths": {"~": {}, "~/*": {}}}}
	every path in ["/team-a/node", "/team-a/node/disks", "/team-a/node/disks/sda"] {
		register.allow with input as offer(node, path) with data.grants as grants with data.revoked as nobody_revoked
	}
	every path in ["/team-a", "/team-a/node2", "/team-a/other", "/team-b/node", "/node"] {
		not register.allow with input as offer(node, path)
			with data.grants as grants
			with data.revoked as nobody_revoked
	}
}

test_own_path_alone if {
	grants := {"spiffe://example.org/*": {"paths": {"~": {}}}}
	register.allow with input as offer(node, "/team-a/node")
		with data.grants as grants
		with data.revoked as nobody_revoked
	not register.allow with input as offer(node, "/team-a/node/disks")
		with data.grants as grants
		with data.revoked as nobody_revoked
}

test_no_segments_no_home if {
	nobody := object.union(node, {"segments": []})
	grants := {"spiffe://example.org/*": {"paths": {"~": {}, "~/*": {}}}}
	not register.allow with input as offer(nobody, "/team-a/node")
		with data.grants as grants
		with data.revoked as nobody_revoked
}

test_dns_name if {
	grants := {"node.example.org": {"paths": {"/db": {}, "~/*": {}}}}
	every path in ["/db", "/node.example.org/disks"] {
		register.allow with input as offer(dns_node, path)
			with data.grants as grants
			with data.revoked as nobody_revoked
	}
	not register.allow with input as offer(dns_node, "/node.example.org")
		with data.grants as grants
		with data.revoked as nobody_revoked
	not register.allow with input as offer(node, "/db") with data.grants as grants with data.revoked as nobody_revoked
}

test_most_specific_grant_decides if {
	grants := {
		"spiffe://example.org/*": {"paths": {"/*": {"limits": {"max_inflight": 1}, "labels": {"by": "domain"}}}},
		"spiffe://example.org/team-a/*": {"paths": {
			"/*": {"limits": {"max_inflight": 2}, "labels": {"by": "everything"}},
			"/team-a/*": {"limits": {"max_inflight": 3}, "labels": {"by": "team"}},
			"/team-a/other/disks": {"limits": {"max_inflight": 4}, "labels": {"by": "path"}},
		}},
		"spiffe://example.org/team-a/node": {"paths": {"/bare": {}}},
	}
	wanted := {
		"/other": {"limits": {"max_inflight": 2}, "labels": {"by": "everything"}},
		"/team-a/other": {"limits": {"max_inflight": 3}, "labels": {"by": "team"}},
		"/team-a/other/disks": {"limits": {"max_inflight": 4}, "labels": {"by": "path"}},
		"/bare": {},
	}
	every path, obligations in wanted {
		got := {rule: value |
			some rule in ["limits", "labels"]
			value := register[rule] with input as offer(node, path)
				with data.grants as grants
				with data.revoked as nobody_revoked
		}
		got == obligations
	}
}

test_home_goes_first if {
	grants := {"spiffe://example.org/*": {"paths": {
		"/team-a/node/x": {"labels": {"by": "path"}},
		"~/*": {"labels": {"by": "home"}},
		"~": {"labels": {"by": "home itself"}},
	}}}
	every path, by in {"/team-a/node/x": "home", "/team-a/node": "home itself"} {
		labels := register.labels with input as offer(node, path)
			with data.grants as grants
			with data.revoked as nobody_revoked
		labels == {"by": by}
	}
}

test_no_grant if {
	reasons := register.reasons with input as offer(node, "/db")
		with data.grants as {}
		with data.revoked as nobody_revoked
	reasons == {"nothing is granted to spiffe://example.org/team-a/node: add it to \"grants\" of the policy's data"}
}

test_no_path if {
	grants := {"spiffe://example.org/team-a/*": {"paths": {"/db": {}}}}
	reasons := register.reasons with input as offer(node, "/web")
		with data.grants as grants
		with data.revoked as nobody_revoked
	reasons == {"route /web is not covered by the grant of \"spiffe://example.org/team-a/*\": add the path there, or register one that is granted"}
}

test_revoked if {
	grants := {"spiffe://example.org/team-a/*": {"paths": {"/*": {}}}}
	every list, key in {"ids": node.id, "serials": node.serial, "spki_sha256": node.spki_sha256} {
		revoked := object.union(nobody_revoked, {list: {key: "laptop lost"}})
		not register.allow with input as offer(node, "/db") with data.grants as grants with data.revoked as revoked
		count(register.reasons) == 1 with input as offer(node, "/db")
			with data.grants as grants
			with data.revoked as revoked
	}
}
