package sallyport.scrape_test

import data.sallyport.scrape

ours := {"id": "spiffe://example.org/proxy", "trust_domain": "example.org"}

spiffe(domain, segments) := {
	"proxy": ours,
	"scraper": {
		"id": sprintf("spiffe://%s/%s", [domain, concat("/", segments)]),
		"kind": "spiffe",
		"trust_domain": domain,
		"segments": segments,
	},
}

dns(name) := {
	"proxy": ours,
	"scraper": {"id": name, "kind": "dns", "trust_domain": "", "segments": [name]},
}

anonymous := {
	"proxy": ours,
	"scraper": {"id": "", "kind": "anonymous", "trust_domain": "", "segments": []},
}

test_prometheus if {
	scrape.allow with input as spiffe("example.org", ["prometheus"])
	scrape.allow with input as spiffe("example.org", ["prometheus", "replica-b"])
	scrape.allow with input as dns("prometheus")
	scrape.allow with input as dns("prometheus.monitoring.svc")
	count(scrape.reasons) == 0 with input as spiffe("example.org", ["prometheus"])
}

test_agents_read_nothing if {
	every request in [
		spiffe("example.org", ["team-a", "node"]),
		spiffe("example.org", ["team-a", "prometheus"]),
		spiffe("example.org", ["prometheus2"]),
		dns("node.example.org"),
		dns("prometheus2.example.org"),
		dns("my.prometheus.example.org"),
	] {
		not scrape.allow with input as request
		count(scrape.reasons) == 1 with input as request
	}
}

test_foreign_prometheus if not scrape.allow with input as spiffe("example.com", ["prometheus"])

test_proxy_without_a_domain if {
	request := object.union(spiffe("", ["prometheus"]), {"proxy": {"id": "proxy", "trust_domain": ""}})
	not scrape.allow with input as request
	reasons := scrape.reasons with input as request
	reasons == {"spiffe:///prometheus is not Prometheus: its ID must be a DNS name whose first label is prometheus"}
}

test_reason_names_the_id_wanted if {
	reasons := scrape.reasons with input as dns("node.example.org")
	some reason in reasons
	contains(reason, "must be spiffe://example.org/prometheus or below")
}

test_token if {
	jwt := {"scraper": {"kind": "jwt"}}
	scrape.allow with input as object.union(spiffe("example.org", ["prometheus"]), jwt)
	not scrape.allow with input as object.union(spiffe("example.org", ["team-a", "node"]), jwt)
	not scrape.allow with input as object.union(spiffe("example.com", ["prometheus"]), jwt)
}

test_kind_counts if {
	not scrape.allow with input as object.union(spiffe("example.org", ["prometheus"]), {"scraper": {"kind": "anonymous"}})
}

test_anonymous if {
	not scrape.allow with input as anonymous
	scrape.reasons == {"an anonymous scraper may scrape nothing"} with input as anonymous
}
