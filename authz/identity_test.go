package authz_test

import (
	"reflect"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
)

func TestIdentitiesBecomeInputs(t *testing.T) {
	t.Parallel()
	workload, err := authn.SPIFFEIdentity(spiffeid.RequireFromString("spiffe://example.org/team-a/node"))
	if err != nil {
		t.Fatal(err)
	}
	host, err := authn.DNSIdentity("node.example.org")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		id   authn.Identity
		want authz.ScraperInput
	}{
		{workload, authz.ScraperInput{ID: "spiffe://example.org/team-a/node", Kind: "spiffe",
			TrustDomain: "example.org", Segments: []string{"team-a", "node"}}},
		{host, authz.ScraperInput{ID: "node.example.org", Kind: "dns", Segments: []string{"node.example.org"}}},
		{authn.AnonymousIdentity(), authz.ScraperInput{Kind: "anonymous"}},
		{authn.Identity{}, authz.ScraperInput{}},
	}
	for _, tt := range tests {
		if got := authz.ScraperOf(tt.id); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("scraper %+v, want %+v", got, tt.want)
		}
		agent := authz.AgentOf(tt.id)
		got := authz.ScraperInput{ID: agent.ID, Kind: agent.Kind, TrustDomain: agent.TrustDomain, Segments: agent.Segments}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("agent %+v, want %+v", got, tt.want)
		}
	}
}
