package sallyport.patterns_test

import data.sallyport.patterns

test_path if {
	patterns.of("/a/b/c") == ["/a/b/c", "/a/b/*", "/a/*", "/*"]
	patterns.of("/a") == ["/a", "/*"]
	patterns.of("/") == ["/", "/*"]
}

test_spiffe_id if {
	all := patterns.of("spiffe://example.org/team-a/node")
	array.slice(all, 0, 3) == [
		"spiffe://example.org/team-a/node",
		"spiffe://example.org/team-a/*",
		"spiffe://example.org/*",
	]
	every pattern in array.slice(all, 3, count(all)) {
		not startswith(pattern, "spiffe://e")
	}
}

# A DNS name is one whole: no pattern covers a part of it.
test_dns_name if patterns.of("node.example.org") == ["node.example.org"]
