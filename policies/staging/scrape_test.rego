package sallyport.scrape_test

import data.sallyport.scrape

nobody_revoked := {"ids": {}, "serials": {}, "spki_sha256": {}}

spiffe(domain, segments) := {
	"id": sprintf("spiffe://%s/%s", [domain, concat("/", segments)]),
	"kind": "spiffe",
	"trust_domain": domain,
	"segments": segments,
}

dns(name) := {"id": name, "kind": "dns", "trust_domain": "", "segments": [name]}

anonymous := {"id": "", "kind": "anonymous", "trust_domain": "", "segments": []}

request(scraper, path) := {
	"scraper": scraper,
	"route": {"path": path, "segments": split(trim_prefix(path, "/"), "/")},
	"proxy": {"id": "spiffe://example.org/proxy", "trust_domain": "example.org"},
}

test_prometheus_reads_all_teams if {
	every who in [
		spiffe("example.org", ["prometheus"]),
		spiffe("example.org", ["prometheus", "b"]),
		dns("prometheus"),
		dns("prometheus.example.org"),
	] {
		every path in ["/team-a/node", "/team-b"] {
			scrape.allow with input as request(who, path) with data.revoked as nobody_revoked
			count(scrape.reasons) == 0 with input as request(who, path) with data.revoked as nobody_revoked
		}
	}
}

test_a_team_reads_its_own if {
	every who in [spiffe("example.org", ["team-a", "prometheus"]), spiffe("example.org", ["team-a", "prometheus", "b"])] {
		scrape.allow with input as request(who, "/team-a/node") with data.revoked as nobody_revoked
		not scrape.allow with input as request(who, "/team-b/node") with data.revoked as nobody_revoked
	}
}

test_token if {
	every segments in [["prometheus"], ["team-a", "prometheus"]] {
		who := object.union(spiffe("example.org", segments), {"kind": "jwt"})
		scrape.allow with input as request(who, "/team-a/node") with data.revoked as nobody_revoked
		revoked := object.union(nobody_revoked, {"ids": {who.id: "replaced"}})
		not scrape.allow with input as request(who, "/team-a/node") with data.revoked as revoked
	}
}

test_others_read_nothing if {
	every who in [
		spiffe("example.org", ["team-a", "node"]),
		spiffe("example.org", ["team-a"]),
		spiffe("example.org", ["team-a", "node", "prometheus"]),
		spiffe("example.com", ["prometheus"]),
		spiffe("example.com", ["team-a", "prometheus"]),
		dns("node.example.org"),
		dns("team-a.prometheus.example.org"),
		object.union(spiffe("example.org", ["prometheus"]), {"kind": "other"}),
		object.union(spiffe("example.com", ["prometheus"]), {"kind": "jwt"}),
		object.union(spiffe("example.org", ["team-a", "node"]), {"kind": "jwt"}),
	] {
		not scrape.allow with input as request(who, "/team-a/node") with data.revoked as nobody_revoked
		count(scrape.reasons) == 1 with input as request(who, "/team-a/node") with data.revoked as nobody_revoked
	}
}

test_proxy_without_a_domain if {
	nameless := object.union(
		request(spiffe("", ["prometheus"]), "/team-a/node"),
		{"proxy": {"id": "proxy", "trust_domain": ""}},
	)
	not scrape.allow with input as nameless with data.revoked as nobody_revoked
}

test_reason_names_the_id_wanted if {
	reasons := scrape.reasons with input as request(dns("node.example.org"), "/team-a/node")
		with data.revoked as nobody_revoked
	reasons == {"node.example.org may not scrape /team-a/node: its ID must be /prometheus or below it, or /team-a/prometheus, in the proxy's trust domain \"example.org\""}
}

test_anonymous if {
	not scrape.allow with input as request(anonymous, "/team-a/node") with data.revoked as nobody_revoked
	reasons := scrape.reasons with input as request(anonymous, "/team-a/node") with data.revoked as nobody_revoked
	reasons == {"an anonymous scraper may scrape nothing"}
}

test_revoked if {
	revoked := object.union(nobody_revoked, {"ids": {"spiffe://example.org/*": "all of them"}})
	every segments in [["prometheus"], ["team-a", "prometheus"]] {
		who := spiffe("example.org", segments)
		not scrape.allow with input as request(who, "/team-a/node") with data.revoked as revoked
		count(scrape.reasons) == 1 with input as request(who, "/team-a/node") with data.revoked as revoked
	}
}
