package authz

import "github.com/seed-951114d4/sallyport/authn"

// AgentOf fills in what an agent's identity says; the rest is the caller's.
func AgentOf(id authn.Identity) AgentInput {
	return AgentInput{ID: id.String(), Kind: id.Kind().String(), TrustDomain: id.TrustDomain(), Segments: id.Segments()}
}

// ScraperOf fills in what a scraper's identity says; the rest is the caller's.
func ScraperOf(id authn.Identity) ScraperInput {
	return ScraperInput{ID: id.String(), Kind: id.Kind().String(), TrustDomain: id.TrustDomain(), Segments: id.Segments()}
}
