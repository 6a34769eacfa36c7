package sallyport.admin_test

import data.sallyport.admin

ann := {
	"id": "spiffe://example.org/admin/ann",
	"kind": "spiffe",
	"trust_domain": "example.org",
	"segments": ["admin", "ann"],
}

prometheus := {
	"id": "prometheus.example.org",
	"kind": "dns",
	"trust_domain": "",
	"segments": ["prometheus.example.org"],
}

anonymous := {"id": "", "kind": "anonymous", "trust_domain": "", "segments": []}

request(who, method, path) := {"scraper": who, "request": {"method": method, "path": path}}

nobody_revoked := {"ids": {}, "serials": {}, "spki_sha256": {}}

admins := {
	"spiffe://example.org/admin/*": {"paths": {"/*": {}}},
	"prometheus.example.org": {"paths": {"/metrics": {}, "/api/*": {}}},
}

test_allowed if {
	every r in [
		request(ann, "GET", "/"),
		request(ann, "HEAD", "/api/v1/routes"),
		request(prometheus, "GET", "/metrics"),
		request(prometheus, "GET", "/api/v1/routes"),
	] {
		admin.allow with input as r with data.admins as admins with data.revoked as nobody_revoked
		count(admin.reasons) == 0 with input as r with data.admins as admins with data.revoked as nobody_revoked
	}
}

test_refused if {
	every r in [
		request(ann, "POST", "/"),
		request(prometheus, "GET", "/"),
		request(prometheus, "GET", "/metrics/"),
		request(prometheus, "GET", "/api"),
		request(anonymous, "GET", "/metrics"),
	] {
		not admin.allow with input as r with data.admins as admins with data.revoked as nobody_revoked
		count(admin.reasons) == 1 with input as r with data.admins as admins with data.revoked as nobody_revoked
	}
}

test_reason if {
	reasons := admin.reasons with input as request(ann, "POST", "/")
		with data.admins as admins
		with data.revoked as nobody_revoked
	reasons == {"\"spiffe://example.org/admin/ann\" may not POST /: \"admins\" of the policy's data says who may read what"}
}

test_revoked if {
	revoked := object.union(nobody_revoked, {"ids": {ann.id: "left"}})
	not admin.allow with input as request(ann, "GET", "/") with data.admins as admins with data.revoked as revoked
	count(admin.reasons) == 2 with input as request(ann, "GET", "/")
		with data.admins as admins
		with data.revoked as revoked
}
