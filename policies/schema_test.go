package policies_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/fstest"
)

// What a hand slips on in prod's data does not load, and the error says where.
func TestDataSchemaOfProd(t *testing.T) {
	t.Parallel()
	const open, rest = `{"grants": {`, `}, "scrapers": {}, "revoked": {"ids": {}, "serials": {}, "spki_sha256": {}}}`
	grant := func(id, paths string) string {
		return open + fmt.Sprintf("%q: {\"paths\": %s}", id, paths) + rest
	}
	revoked := func(list, what string) string {
		lists := map[string]map[string]string{"ids": {}, "serials": {}, "spki_sha256": {}}
		lists[list] = map[string]string{what: "a note"}
		content, err := json.Marshal(lists)
		if err != nil {
			t.Fatal(err)
		}
		return `{"grants": {}, "scrapers": {}, "revoked": ` + string(content) + `}`
	}
	const node = "spiffe://example.org/node"
	tests := []struct {
		name, data string
		words      []string // none where the data is good
	}{
		{"nothing granted", open + rest, nil},
		{"an example", prodData, nil},
		{"every form of a path", grant(node, `{"/a": {}, "/a/b.c/*": {}, "/*": {}, "~": {}, "~/*": {}, "/a_b-c": {}}`), nil},
		{"all of a domain", grant("spiffe://example.org/*", `{"/a": {}}`), nil},
		{"a DNS name", grant("node-1.example.org", `{"/a": {}}`), nil},
		{"a serial", revoked("serials", "0a1b2c"), nil},

		{"no grants", `{"scrapers": {}, "revoked": {"ids": {}, "serials": {}, "spki_sha256": {}}}`, []string{"grants", "required"}},
		{"no denylist", `{"grants": {}, "scrapers": {}}`, []string{"revoked", "required"}},
		{"half a denylist", `{"grants": {}, "scrapers": {}, "revoked": {"ids": {}, "serials": {}}}`, []string{"spki_sha256", "required"}},
		{"a misspelt section", `{"grant": {}, ` + strings.TrimPrefix(open+rest, "{"), []string{"grant"}},
		{"no paths", open + `"` + node + `": {}` + rest, []string{node, "paths", "required"}},
		{"empty paths", grant(node, `{}`), []string{node}},
		{"a list of paths", grant(node, `["/a"]`), []string{node, "array"}},
		{"a trust domain alone", grant("spiffe://example.org", `{"/a": {}}`), []string{"spiffe://example.org"}},
		{"every identity there is", grant("*", `{"/a": {}}`), []string{`"*"`}},
		{"a star inside of an ID", grant("spiffe://example.org/*/node", `{"/a": {}}`), []string{"spiffe://example.org/*/node"}},
		{"a part of a segment", grant("spiffe://example.org/node*", `{"/a": {}}`), []string{"spiffe://example.org/node*"}},
		{"an upper-case domain", grant("spiffe://Example.org/node", `{"/a": {}}`), []string{"spiffe://Example.org/node"}},
		{"a wildcard name", grant("*.example.org", `{"/a": {}}`), []string{"*.example.org"}},
		{"a path below ~", grant(node, `{"~/a": {}}`), []string{"~/a"}},
		{"no first slash", grant(node, `{"a/b": {}}`), []string{"a/b"}},
		{"a last slash", grant(node, `{"/a/": {}}`), []string{"/a/"}},
		{"two stars", grant(node, `{"/a/**": {}}`), []string{"/a/**"}},
		{"a star inside of a path", grant(node, `{"/a/*/b": {}}`), []string{"/a/*/b"}},
		{"a misspelt limit", grant(node, `{"/a": {"limits": {"max_bytes": 1}}}`), []string{"max_bytes"}},
		{"a limit of none", grant(node, `{"/a": {"limits": {"max_routes": 0}}}`), []string{"max_routes"}},
		{"a limit with a unit", grant(node, `{"/a": {"limits": {"max_body_bytes": "1MiB"}}}`), []string{"max_body_bytes"}},
		{"a reserved label", grant(node, `{"/a": {"labels": {"instance": "x"}}}`), []string{"instance"}},
		{"a hidden label", grant(node, `{"/a": {"labels": {"__address__": "x"}}}`), []string{"__address__"}},
		{"a label that is a number", grant(node, `{"/a": {"labels": {"rack": 7}}}`), []string{"rack"}},
		{"a scraper with ~", `{"scrapers": {"` + node + `": {"paths": {"~/*": {}}}}, "grants": {}, "revoked": {"ids": {}, "serials": {}, "spki_sha256": {}}}`, []string{"~/*"}},
		{"a serial in capitals", revoked("serials", "0A1B2C"), []string{"0A1B2C"}},
		{"a serial with colons", revoked("serials", "0a:1b:2c"), []string{"0a:1b:2c"}},
		{"a serial without its first zero", revoked("serials", "a1b2c"), []string{"a1b2c"}},
		{"a short key", revoked("spki_sha256", "e3b0"), []string{"e3b0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fsys := folder(t, "prod", "data.json", tt.data)
			maps.DeleteFunc(fsys, func(file string, _ *fstest.MapFile) bool { return strings.HasSuffix(file, "_test.rego") })
			loads(t, fsys, tt.words)
		})
	}
}
