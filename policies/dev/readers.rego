# METADATA
# title: Who may read
# description: |
#   Whoever bears a name that "readers" of the data lists: as the first segment of a
#   SPIFFE ID of the proxy's trust domain (spiffe://example.org/dev/ann), or as the first
#   label of a DNS name (dev.example.org). A bearer token for such a SPIFFE ID will do.
package sallyport.readers

# METADATA
# title: Whether the scraper may read
default admitted := false

admitted if {
	input.scraper.kind in {"spiffe", "jwt"}
	input.scraper.trust_domain != ""
	input.scraper.trust_domain == input.proxy.trust_domain
	data.readers[input.scraper.segments[0]]
}

admitted if {
	input.scraper.kind == "dns"
	data.readers[split(input.scraper.id, ".")[0]]
}

# METADATA
# title: Why not
refusal := sprintf(
	"%q is no reader: its ID must begin with a name in \"readers\" of the policy's data, in the proxy's trust domain %q",
	[input.scraper.id, input.proxy.trust_domain],
)
