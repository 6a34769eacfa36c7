package authz_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/seed-951114d4/sallyport/authz"
)

// FuzzInput feeds what peers choose into the documents and the default policy. The
// document is JSON with its fields in place, the policy finds an answer, and it lets
// nobody outside of its prefix.
func FuzzInput(f *testing.F) {
	f.Add("team-a/node", "example.org", "/team-a/node", "node-1", "env", "prod", 9100, int64(1))
	f.Add("team-a/node", "example.org", "/team-a/node2", "\x00\xff\n", "__address__", "\"", -1, int64(-1))
	f.Add("", "", "", "", "", "", 0, int64(0))
	f.Add("prometheus", "example.org", "/", "\\u0000", "\u2028", "{}", 1<<31, int64(1<<62))

	p := builtinDefault(f)
	f.Fuzz(func(t *testing.T, id, domain, path, name, label, value string, port int, now int64) {
		segments := strings.Split(id, "/")
		in := authz.RegisterInput{
			Agent: authz.AgentInput{ID: id, Kind: "spiffe", TrustDomain: domain, Segments: segments, Name: name},
			Route: authz.RouteClaim{Path: path, Segments: strings.Split(path, "/")[1:],
				Labels: map[string]string{label: value}, Target: authz.TargetClaim{Host: value, Port: port}},
			Proxy: authz.ProxyInput{TrustDomain: "example.org"},
			Now:   time.Unix(0, now),
		}
		checkDocument(t, mustJSON(t, in.Document()), in.Agent.Name)
		d := p.Register(context.Background(), in)
		if d.Fault != nil {
			t.Fatal(d.Fault)
		}
		inside := len(in.Route.Segments) >= len(segments) &&
			slices.Equal(in.Route.Segments[:len(segments)], segments)
		if want := inside && domain == "example.org"; d.Allow != want {
			t.Errorf("allow is %t for %q of %q and %q", d.Allow, segments, domain, in.Route.Segments)
		}
		if d.Allow == (len(d.Reasons) > 0) {
			t.Errorf("allow is %t with reasons %q", d.Allow, d.Reasons)
		}
		for _, r := range d.Reasons {
			if len(r) > 200 || !utf8.ValidString(r) || strings.ContainsAny(r, "\n\r\x1b") {
				t.Errorf("reason %q", r)
			}
		}

		s := p.Scrape(context.Background(), authz.ScrapeInput{
			Scraper: authz.ScraperInput{ID: id, Kind: name, TrustDomain: domain, Segments: segments},
			Request: authz.ScrapeRequest{Query: map[string][]string{label: {value, path}}},
			Proxy:   authz.ProxyInput{TrustDomain: "example.org"},
		})
		if s.Fault != nil {
			t.Fatal(s.Fault)
		}
	})
}

func checkDocument(t *testing.T, doc []byte, name string) {
	t.Helper()
	var v struct {
		Schema int
		Action string
		Agent  struct{ Name *string }
	}
	if err := json.Unmarshal(doc, &v); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	if v.Schema != 1 || v.Action != "register" || v.Agent.Name == nil {
		t.Errorf("fields are missing in %s", doc)
	}
	if utf8.ValidString(name) && v.Agent.Name != nil && *v.Agent.Name != name {
		t.Errorf("name %q became %q", name, *v.Agent.Name)
	}
}

// FuzzScrapeKey wants two inputs that a policy can tell apart to have two keys.
func FuzzScrapeKey(f *testing.F) {
	f.Add("a/b", "c", "a", "b/c", uint8(3), uint8(5))
	f.Add("", "/", "/", "", uint8(0), uint8(7))
	f.Add("\x01a", "a\x01", "a", "\x01", uint8(6), uint8(6))

	names := make([]string, 0, 14)
	for name := range variations() {
		if name != "now_ns" {
			names = append(names, name)
		}
	}
	f.Fuzz(func(t *testing.T, a, b, c, d string, shape, other uint8) {
		one, two := shaped(a, b, shape), shaped(c, d, other)
		sameKey := bytes.Equal(authz.ScrapeKey(one, names...), authz.ScrapeKey(two, names...))
		if same := one.Document().Compare(two.Document()) == 0; same != sameKey {
			t.Errorf("same input is %t, same key %t: %+v, %+v", same, sameKey, one, two)
		}
	})
}

// shaped spreads two texts over a scrape.
func shaped(a, b string, shape uint8) authz.ScrapeInput {
	in := authz.ScrapeInput{
		Scraper: authz.ScraperInput{ID: a, Kind: b, Segments: strings.Split(a, "/")},
		Route:   authz.ScrapeRoute{Path: b, Segments: strings.Split(b, "/")},
		Request: authz.ScrapeRequest{Timeout: time.Duration(shape/8) * time.Millisecond},
		Now:     time.Unix(1, 0),
	}
	if shape&1 != 0 {
		in.Route.Labels = map[string]string{a: b}
	}
	if shape&2 != 0 {
		in.Request.Query = map[string][]string{b: strings.Split(a, "/"), a: {b}}
	}
	if shape&4 != 0 {
		in.Scraper.ID, in.Scraper.Kind = b, a
	}
	return in
}
