package sallyport.register_test

import data.sallyport.register

offer(kind, domain, proxy_domain) := {
	"agent": {"id": sprintf("%s://%s/node", [kind, domain]), "kind": kind, "trust_domain": domain},
	"route": {"path": "/anything"},
	"proxy": {"trust_domain": proxy_domain},
}

test_our_own if {
	every o in [offer("spiffe", "example.org", "example.org"), offer("dns", "", "example.org"), offer("dns", "", "")] {
		register.allow with input as o
		register.labels == {"env": "dev"} with input as o
		count(register.reasons) == 0 with input as o
	}
}

test_others if {
	every o in [offer("spiffe", "example.com", "example.org"), offer("spiffe", "", ""), offer("anonymous", "", "")] {
		not register.allow with input as o
		count(register.reasons) == 1 with input as o
	}
}

test_reason if {
	reasons := register.reasons with input as offer("spiffe", "example.com", "example.org")
	reasons == {"agent spiffe://example.com/node is not of the proxy's trust domain \"example.org\": give it an identity of that domain"}
}
