package tunnelv1_test

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

func TestCheckPath(t *testing.T) {
	for name, tt := range map[string]struct {
		path string
		ok   bool
	}{
		"one segment":         {"/node", true},
		"several":             {"/team-a/node_1/v2.0", true},
		"case counts":         {"/Team/NODE", true},
		"three dots":          {"/a/...", true},
		"dash within":         {"/a/-", true},
		"first begins with -": {"/-a", true},
		"longest":             {"/" + strings.Repeat("a", 511), true},
		"metrics below":       {"/a/metrics", true},
		"too long":            {"/" + strings.Repeat("a", 512), false},
		"empty":               {"", false},
		"root":                {"/", false},
		"no slash":            {"node", false},
		"trailing slash":      {"/node/", false},
		"double slash":        {"//node", false},
		"dot":                 {"/a/./b", false},
		"dot dot":             {"/a/../b", false},
		"percent":             {"/a%2fb", false},
		"query":               {"/a?b", false},
		"fragment":            {"/a#b", false},
		"space":               {"/a b", false},
		"control":             {"/a\n", false},
		"not ASCII":           {"/é", false},
		"own":                 {"/-/discovery", false},
		"own metrics":         {"/metrics", false},
		"own debug":           {"/debug/pprof", false},
		"URL":                 {"http://host/a", false},
		"backslash":           {`/a\b`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tunnelv1.CheckPath(tt.path); (err == nil) != tt.ok {
				t.Errorf("CheckPath(%q) = %v, want ok %v", tt.path, err, tt.ok)
			}
		})
	}
}

var form = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)

// A path that passes is the same to every parser on its way: nothing that
// cleans, splits or unescapes URLs may see another path than the policy did.
func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{"/a", "/a/b", "//", "/a/../b", "/%2e", "/a/", "/-/x", "/metrics", "/a?b", "a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p string) {
		err := tunnelv1.CheckPath(p)
		if err == nil && (len(p) > tunnelv1.MaxPath || !form.MatchString(p) || path.Clean(p) != p) {
			t.Errorf("CheckPath passed %q", p)
		}
		if err != nil {
			return
		}
		u, parseErr := url.ParseRequestURI(p)
		if parseErr != nil || u.Path != p || u.EscapedPath() != p || u.RawQuery != "" {
			t.Errorf("url.ParseRequestURI(%q) = %+v, %v", p, u, parseErr)
		}
		if "/"+strings.Join(tunnelv1.Segments(p), "/") != p {
			t.Errorf("Segments(%q) = %q", p, tunnelv1.Segments(p))
		}
	})
}

func TestCheckLabel(t *testing.T) {
	for name, ok := range map[string]bool{
		"zone": true, "_zone": true, "Zone9": true, "exported_job": true,
		"": false, "__address__": false, "__meta_x": false, "job": false, "instance": false,
		"9zone": false, "a-b": false, "a.b": false, "é": false, "a\nb": false,
	} {
		if err := tunnelv1.CheckLabel(name); (err == nil) != ok {
			t.Errorf("CheckLabel(%q) = %v, want ok %v", name, err, ok)
		}
	}
}
