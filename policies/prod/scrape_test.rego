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

test_no_certificate if {
	every who in [anonymous, object.union(prometheus, {"kind": "jwt"})] {
		not scrape.allow with input as request(who, "/db")
			with data.scrapers as scrapers
			with data.revoked as nobody_revoked
		reasons := scrape.reasons with input as request(who, "/db")
			with data.scrapers as scrapers
			with data.revoked as nobody_revoked
		reasons == {"a scraper must show a certificate: this one is anonymous or has a token"}
	}
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
