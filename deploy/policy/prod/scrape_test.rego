package sallyport.scrape_test

import data.sallyport.scrape

prometheus := {
	"id": "spiffe://example.org/prometheus/eu",
	"kind": "spiffe",
	"trust_domain": "example.org",
	"segments": ["prometheus", "eu"],
}

dns_prometheus := {
	"id": "prometheus.example.org",
	"kind": "dns",
	"trust_domain": "",
	"segments": ["prometheus.example.org"],
}

anonymous := {"id": "", "kind": "anonymous", "trust_domain": "", "segments": []}

request(scraper, path) := {
	"scraper": scraper,
	"route": {"path": path, "segments": split(trim_prefix(path, "/"), "/")},
}

nobody_revoked := {"ids": {}, "serials": {}, "spki_sha256": {}}

scrapers := {
	"spiffe://example.org/prometheus/*": {"paths": {
		"/*": {"limits": {"max_timeout_ms": 10000}},
		"/team-a/*": {"limits": {"max_timeout_ms": 20000}},
	}},
	"prometheus.example.org": {"paths": {"/team-a/node": {}}},
}

test_granted if {
	every path in ["/team-a/node", "/team-b", "/a/b/c/d"] {
		scrape.allow with input as request(prometheus, path)
			with data.scrapers as scrapers
			with data.revoked as nobody_revoked
		count(scrape.reasons) == 0 with input as request(prometheus, path)
			with data.scrapers as scrapers
			with data.revoked as nobody_revoked
	}
	scrape.allow with input as request(dns_prometheus, "/team-a/node")
		with data.scrapers as scrapers
		with data.revoked as nobody_revoked
}

test_most_specific_entry_decides if {
	every path, ms in {"/team-a/node": 20000, "/team-a": 10000, "/team-b/node": 10000} {
		limits := scrape.limits with input as request(prometheus, path)
			with data.scrapers as scrapers
			with data.revoked as nobody_revoked
		limits == {"max_timeout_ms": ms}
	}
}

test_no_path if {
	not scrape.allow with input as request(dns_prometheus, "/team-a/node/disks")
		with data.scrapers as scrapers
		with data.revoked as nobody_revoked
	reasons := scrape.reasons with input as request(dns_prometheus, "/team-a/node/disks")
		with data.scrapers as scrapers
		with data.revoked as nobody_revoked
	reasons == {"route /team-a/node/disks is not covered by the entry of \"prometheus.example.org\" in \"scrapers\" of the policy's data: add the path there"}
}

test_no_entry if {
	not scrape.allow with input as request(prometheus, "/db") with data.scrapers as {} with data.revoked as nobody_revoked
	reasons := scrape.reasons with input as request(prometheus, "/db")
		with data.scrapers as {}
		with data.revoked as nobody_revoked
	reasons == {"nothing is granted to spiffe://example.org/prometheus/eu: add it to \"scrapers\" of the policy's data"}
}

# "~" is for agents alone.
test_no_home if {
	own := {"spiffe://example.org/prometheus/*": {"paths": {"~/*": {}}}}
	not scrape.allow with input as request(prometheus, "/prometheus/eu/x")
		with data.scrapers as own
		with data.revoked as nobody_revoked
}

test_anonymous if {
	not scrape.allow with input as request(anonymous, "/db")
		with data.scrapers as scrapers
		with data.revoked as nobody_revoked
	reasons := scrape.reasons with input as request(anonymous, "/db")
		with data.scrapers as scrapers
		with data.revoked as nobody_revoked
	reasons == {"an anonymous scraper may scrape nothing: it must show a certificate or a token"}
}

with_token := object.union(prometheus, {"kind": "jwt"})

test_token_needs_its_entry if {
	not scrape.allow with input as request(with_token, "/db")
		with data.scrapers as scrapers
		with data.revoked as nobody_revoked
	reasons := scrape.reasons with input as request(with_token, "/db")
		with data.scrapers as scrapers
		with data.revoked as nobody_revoked
	reasons == {"spiffe://example.org/prometheus/eu came with a token: the entry of \"spiffe://example.org/prometheus/*\" in \"scrapers\" of the policy's data is for certificates, unless it says \"tokens\": true"}
}

# An entry for tokens is for certificates as well; another entry lends a token nothing.
test_token_granted if {
	mixed := object.union(scrapers, {"spiffe://example.org/*": {"tokens": true, "paths": {"/db": {}}}})
	every who in [with_token, prometheus] {
		scrape.allow with input as request(who, "/db") with data.scrapers as mixed with data.revoked as nobody_revoked
	}
	not scrape.allow with input as request(with_token, "/team-a/node")
		with data.scrapers as mixed
		with data.revoked as nobody_revoked
	no := scrape.reasons with input as request(with_token, "/team-a/node")
		with data.scrapers as mixed
		with data.revoked as nobody_revoked
	no == {"route /team-a/node is not covered by the entry of \"spiffe://example.org/*\" in \"scrapers\" of the policy's data: add the path there"}
	explicit := {"spiffe://example.org/prometheus/eu": {"tokens": false, "paths": {"/db": {}}}}
	not scrape.allow with input as request(with_token, "/db") with data.scrapers as explicit with data.revoked as nobody_revoked
}

test_revoked if {
	revoked := object.union(nobody_revoked, {"ids": {prometheus.id: "replaced"}})
	not scrape.allow with input as request(prometheus, "/db")
		with data.scrapers as scrapers
		with data.revoked as revoked
	count(scrape.reasons) == 1 with input as request(prometheus, "/db")
		with data.scrapers as scrapers
		with data.revoked as revoked
}
