package sallyport.admin_test

import data.sallyport.admin

request(scraper, method, path) := {
	"proxy": {"id": "spiffe://example.org/proxy", "trust_domain": "example.org"},
	"scraper": scraper,
	"request": {"method": method, "path": path},
}

spiffe(domain, segments) := {
	"id": sprintf("spiffe://%s/%s", [domain, concat("/", segments)]),
	"kind": "spiffe",
	"trust_domain": domain,
	"segments": segments,
}

dns(name) := {"id": name, "kind": "dns", "trust_domain": "", "segments": [name]}

nobody_revoked := {"ids": {}, "serials": {}, "spki_sha256": {}}

anonymous := {"id": "", "kind": "anonymous", "trust_domain": "", "segments": []}

test_operators if {
	every who in [spiffe("example.org", ["admin"]), spiffe("example.org", ["admin", "ann"]), dns("admin.example.org")] {
		admin.allow with input as request(who, "GET", "/api/v1/routes") with data.revoked as nobody_revoked
		count(admin.reasons) == 0 with input as request(who, "GET", "/api/v1/routes") with data.revoked as nobody_revoked
	}
}

test_prometheus_reads_metrics if {
	every who in [spiffe("example.org", ["prometheus"]), dns("prometheus.example.org")] {
		admin.allow with input as request(who, "GET", "/metrics") with data.revoked as nobody_revoked
		not admin.allow with input as request(who, "POST", "/metrics") with data.revoked as nobody_revoked
		not admin.allow with input as request(who, "GET", "/api/v1/routes") with data.revoked as nobody_revoked
	}
}

test_others_see_nothing if {
	every who in [
		spiffe("example.org", ["team-a", "admin"]),
		spiffe("example.com", ["admin"]),
		dns("administrator.example.org"),
		anonymous,
	] {
		not admin.allow with input as request(who, "GET", "/metrics") with data.revoked as nobody_revoked
		count(admin.reasons) == 1 with input as request(who, "GET", "/metrics") with data.revoked as nobody_revoked
	}
}

test_proxy_without_a_domain if {
	bare := object.union(request(spiffe("", ["admin"]), "GET", "/"), {"proxy": {"id": "proxy", "trust_domain": ""}})
	not admin.allow with input as bare with data.revoked as nobody_revoked
	reasons := admin.reasons with input as bare with data.revoked as nobody_revoked
	reasons == {"\"spiffe:///admin\" may not GET /: its ID must be a DNS name whose first label is admin"}
}

test_revoked if {
	revoked := {"ids": {"spiffe://example.org/admin/*": "left"}, "serials": {}, "spki_sha256": {}}
	r := request(spiffe("example.org", ["admin", "ann"]), "GET", "/")
	not admin.allow with input as r with data.revoked as revoked
	reasons := admin.reasons with input as r with data.revoked as revoked
	reasons == {"spiffe://example.org/admin/ann is revoked (\"spiffe://example.org/admin/*\" in revoked.ids of the policy's data)"}
}
