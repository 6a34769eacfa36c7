package logging_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode"

	"github.com/seed-951114d4/sallyport/cmd/internal/logging"
)

// JSON that somebody reads on a terminal tells it nothing either, and means what was said.
func TestJSONIsPrintable(t *testing.T) {
	t.Parallel()
	for _, text := range hostile {
		var out strings.Builder
		logging.New(&out, logging.Config{Format: logging.JSON}).Warn("refused", slog.Group("g", "route", text))
		line, ended := strings.CutSuffix(out.String(), "\n")
		if at := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); at >= 0 || !ended {
			t.Errorf("%q is written as %q", text, out.String())
		}
		var got struct{ G struct{ Route string } }
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.G.Route != strings.ToValidUTF8(text, "\ufffd") {
			t.Errorf("%q is read as %q, %v", text, got.G.Route, err)
		}
	}
}
