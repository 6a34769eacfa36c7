package policies_test

import (
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/policies"
)

// loads wants the policy to load, or, where there are words, an error that holds
// each of them.
func loads(t *testing.T, fsys fs.FS, words []string) {
	t.Helper()
	_, err := authz.Compile(t.Context(), fsys, authz.Options{Timeout: 5 * time.Second})
	if (err != nil) != (len(words) > 0) {
		t.Fatalf("error: %v", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("no %q in: %v", word, err)
		}
	}
}

// The tests of a folder run whenever its data changes. They must not fail because an
// operator grants or revokes the very names that they use.
func TestTestsIgnoreTheData(t *testing.T) {
	t.Parallel()
	const revoked = `{
		"ids": {"spiffe://example.org/*": "", "spiffe://example.com/*": "", "node.example.org": "", "prometheus": "", "prometheus.example.org": ""},
		"serials": {"` + serial + `": "", "0a1b2d": ""},
		"spki_sha256": {"` + key + `": ""}
	}`
	const all = `{
		"spiffe://example.org/*": {"paths": {"/*": {}}},
		"spiffe://example.com/*": {"paths": {"/*": {}}},
		"node.example.org": {"paths": {"/*": {}}},
		"prometheus.example.org": {"paths": {"/*": {}}}
	}`
	data := map[string]string{
		"default": `{"revoked": ` + revoked + `}`,
		"dev":     `{"readers": {"team-a": "", "node": "", "developer": "", "ann": ""}}`,
		"staging": `{"limits": {"max_inflight": 1}, "revoked": ` + revoked + `}`,
		"prod":    `{"grants": ` + all + `, "scrapers": ` + all + `, "admins": ` + all + `, "revoked": ` + revoked + `}`,
	}
	for _, name := range policies.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loads(t, folder(t, name, "data.json", data[name]), nil)
		})
	}
}

// Grants may be spread over files, one for each team: a file's folder is its place in
// the data.
func TestGrantsInManyFiles(t *testing.T) {
	t.Parallel()
	p := compile(t, "prod",
		"grants/team-a.json", `{"spiffe://example.org/team-a/*": {"paths": {"~/*": {}}}}`,
		"grants/team-b.yaml", "spiffe://example.org/team-b/*:\n  paths:\n    /team-b/*: {}\n")
	for _, path := range []string{"/team-a/node/x", "/team-b/x"} {
		id := "spiffe://example.org" + path[:len("/team-a")] + "/node"
		if d := p.Register(t.Context(), offer(id, path)); !d.Allow {
			t.Errorf("%s: %+v", path, d)
		}
	}
}

// The example in prod's README is one that loads.
func TestExampleOfProd(t *testing.T) {
	t.Parallel()
	readme, err := fs.ReadFile(builtin(t, "prod"), "README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```json\n")
	example, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("no example")
	}
	p := compile(t, "prod", "data.json", example)
	if d := p.Register(t.Context(), offer("spiffe://example.org/node/16", "/node/16/cpu")); !d.Allow {
		t.Errorf("%+v", d)
	}
}
