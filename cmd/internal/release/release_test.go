package release_test

import (
	"regexp"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/cmd/internal/release"
)

func TestPrint(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := release.Print(&out, "sallyport"); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^sallyport \S+ \((revision [0-9a-f]{12}(\+dirty)?, )?go1\S+ \w+/\w+\)\n$`).MatchString(out.String()) {
		t.Errorf("got %q", out.String())
	}
}

func TestRevision(t *testing.T) {
	t.Parallel()
	const hash = "5dce8ef0123456789abcdef0123456789abcdef0"
	for want, settings := range map[string][]debug.BuildSetting{
		"":                              {{Key: "vcs.modified", Value: "true"}},
		"revision 5dce8ef01234, ":       {{Key: "vcs.revision", Value: hash}, {Key: "vcs.modified", Value: "false"}},
		"revision 5dce8ef01234+dirty, ": {{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: hash}},
		"revision 5dce8ef, ":            {{Key: "vcs.revision", Value: hash[:7]}},
	} {
		if got := release.Revision(&debug.BuildInfo{Settings: settings}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	pseudo := &debug.BuildInfo{
		Main:     debug.Module{Version: "v0.0.0-20261122144725-5dce8ef01234+dirty"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: hash}, {Key: "vcs.modified", Value: "true"}},
	}
	if got := release.Revision(pseudo); got != "" {
		t.Errorf("got %q beside a pseudo-version", got)
	}
}
