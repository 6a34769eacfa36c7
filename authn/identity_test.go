package authn_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
)

func TestIdentityZeroIsNobody(t *testing.T) {
	var nobody authn.Identity
	if !nobody.IsZero() || nobody.Kind() != authn.Nobody || nobody.String() != "" || nobody.TrustDomain() != "" || nobody.Segments() != nil {
		t.Errorf("zero identity is %#v", nobody)
	}
	if anonymous := authn.AnonymousIdentity(); anonymous.IsZero() || anonymous == nobody || anonymous.Kind().String() != "anonymous" {
		t.Errorf("anonymous identity is %#v", anonymous)
	}
}

func TestSPIFFEIdentity(t *testing.T) {
	identity, err := authn.SPIFFEIdentity(spiffeid.RequireFromString(nodeID))
	if err != nil {
		t.Fatal(err)
	}
	if identity.Kind().String() != "spiffe" || identity.String() != nodeID || identity.TrustDomain() != domain {
		t.Errorf("identity is %#v", identity)
	}
	if got := identity.Segments(); !slices.Equal(got, []string{"team-a", "node"}) {
		t.Errorf("segments are %q", got)
	}
	again, _ := authn.SPIFFEIdentity(spiffeid.RequireFromString(nodeID))
	if identity != again {
		t.Error("the same ID gives another identity")
	}
	longest := "spiffe://" + strings.Repeat("d", 255) + "/" + strings.Repeat("p", 2048-9-255-1)
	for name, test := range map[string]struct {
		id spiffeid.ID
		ok bool
	}{
		"zero":           {spiffeid.ID{}, false},
		"trust domain":   {spiffeid.RequireFromString("spiffe://example.org"), false},
		"longest":        {spiffeid.RequireFromString(longest), true},
		"too long":       {spiffeid.RequireFromString(longest + "p"), false},
		"domain of 256":  {spiffeid.RequireFromString("spiffe://" + strings.Repeat("d", 256) + "/p"), false},
		"one character":  {spiffeid.RequireFromString("spiffe://d/p"), true},
		"ten kilobytes":  {spiffeid.RequireFromString("spiffe://d/" + strings.Repeat("p", 10<<10)), false},
		"many segments":  {spiffeid.RequireFromString("spiffe://d" + strings.Repeat("/p", 500)), true},
		"odd characters": {spiffeid.RequireFromString("spiffe://d_-.1/A-Z_.0"), true},
	} {
		if identity, err := authn.SPIFFEIdentity(test.id); (err == nil) != test.ok || identity.IsZero() == test.ok {
			t.Errorf("%s: %v, %v", name, identity, err)
		}
	}
}

func TestDNSIdentity(t *testing.T) {
	label := strings.Repeat("a", 63)
	for name, ok := range map[string]bool{
		"prometheus.example.org": true,
		"localhost":              true,
		"a-1.b":                  true,
		"1.example.org":          true,
		label + "." + label + "." + label + "." + label[:61]: true,
		label + "." + label + "." + label + "." + label[:62]: false,
		label + "a.org":         false,
		"":                      false,
		".":                     false,
		"example.org.":          false,
		".example.org":          false,
		"a..b":                  false,
		"*.example.org":         false,
		"Example.org":           false,
		"exa mple.org":          false,
		"ex_ample.org":          false,
		"-a.org":                false,
		"a-.org":                false,
		"10.0.0.1":              false,
		"::1":                   false,
		"example.org/a":         false,
		"spiffe://a/b":          false,
		"b\u00fccher.example":   false,
		"xn--bcher-kva.example": true,
		"a\x00b":                false,
		"a\n":                   false,
	} {
		identity, err := authn.DNSIdentity(name)
		if (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
		if ok && (identity.String() != name || identity.Kind().String() != "dns" || identity.TrustDomain() != "" || !slices.Equal(identity.Segments(), []string{name})) {
			t.Errorf("%q gives %#v", name, identity)
		}
	}
}
