package sallyport.readers_test

import data.sallyport.admin
import data.sallyport.scrape

spiffe(domain, segments) := {
	"id": sprintf("spiffe://%s/%s", [domain, concat("/", segments)]),
	"kind": "spiffe",
	"trust_domain": domain,
	"segments": segments,
}

dns(name) := {"id": name, "kind": "dns", "trust_domain": "", "segments": [name]}

anonymous := {"id": "", "kind": "anonymous", "trust_domain": "", "segments": []}

# by(scraper) is a question of both kinds.
by(scraper) := {"scraper": scraper, "proxy": {"trust_domain": "example.org"}}

listed := {"prometheus": "", "dev": "developers"}

test_readers if {
	every who in [
		spiffe("example.org", ["prometheus"]),
		spiffe("example.org", ["dev", "ann"]),
		object.union(spiffe("example.org", ["prometheus"]), {"kind": "jwt"}),
		dns("prometheus"),
		dns("dev.example.org"),
	] {
		scrape.allow with input as by(who) with data.readers as listed
		admin.allow with input as by(who) with data.readers as listed
		count(scrape.reasons | admin.reasons) == 0 with input as by(who) with data.readers as listed
	}
}

test_others if {
	every who in [
		spiffe("example.org", ["team-a", "node"]),
		spiffe("example.org", ["team-a", "dev"]),
		spiffe("example.org", ["developer"]),
		spiffe("example.com", ["dev"]),
		object.union(spiffe("example.com", ["dev"]), {"kind": "jwt"}),
		dns("node.example.org"),
		dns("ann.dev"),
		anonymous,
	] {
		not scrape.allow with input as by(who) with data.readers as listed
		not admin.allow with input as by(who) with data.readers as listed
		count(scrape.reasons) == 1 with input as by(who) with data.readers as listed
		count(admin.reasons) == 1 with input as by(who) with data.readers as listed
	}
}

test_proxy_without_a_domain if {
	nameless := object.union(by(spiffe("", ["dev"])), {"proxy": {"trust_domain": ""}})
	not scrape.allow with input as nameless with data.readers as listed
}

test_reason if {
	reasons := scrape.reasons with input as by(dns("node.example.org")) with data.readers as listed
	reasons == {"\"node.example.org\" is no reader: its ID must begin with a name in \"readers\" of the policy's data, in the proxy's trust domain \"example.org\""}
}
