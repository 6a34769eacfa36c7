package logging_test

import (
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/seed-951114d4/sallyport/cmd/internal/logging"
)

// valuer is a value that says at the end what is logged of it.
type valuer string

func (v valuer) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("inner", errors.New(string(v))))
}

// hostile is what a stranger may have others log.
var hostile = []string{
	"\x1b]52;c;ZXZpbA==\x07", "\x1b[2J\x1b[1Aowned", "with blanks \x1b[8m and quotes \"", `\x1b[2J`, `with blanks \x1b[2J`, `\\x1b[2J x`, `\\\x1b[2J`,
	"\u009b2J", "\x7f\b\b\rx", "two\nlines\tand a tab", "\u202egnp.exe", "\xff\x1b[2J", "\ufffd\x1b[2J", "\U000e0001",
}

// colour is what tint itself writes on a terminal.
var colour = regexp.MustCompile("\x1b" + `\[(?:0|2|22|9[123])m`)

// Whoever reads a log on a terminal, or as text, reads all of it, and the terminal is
// told nothing by those whom it is about.
func TestTextIsPrintable(t *testing.T) {
	t.Parallel()
	for form, logger := range map[string]func(io.Writer, logging.Config) *slog.Logger{"terminal": logging.NewOnTerminal, "file": logging.New} {
		for _, text := range hostile {
			for where, write := range map[string]func(*slog.Logger, string){
				"text":    func(l *slog.Logger, s string) { l.Warn("refused", "route", s) },
				"error":   func(l *slog.Logger, s string) { l.Warn("refused", "error", errors.New(s)) },
				"list":    func(l *slog.Logger, s string) { l.Warn("refused", "reasons", []string{"a", s}) },
				"group":   func(l *slog.Logger, s string) { l.Warn("refused", slog.Group("g", slog.Group("h", "i", s))) },
				"valuer":  func(l *slog.Logger, s string) { l.Warn("refused", "v", valuer(s)) },
				"With":    func(l *slog.Logger, s string) { l.With("route", s).WithGroup("g").Warn("refused") },
				"key":     func(l *slog.Logger, s string) { l.Warn("refused", s, 1) },
				"name":    func(l *slog.Logger, s string) { l.WithGroup(s).Warn("refused", slog.Group(s, "a", 1)) },
				"message": func(l *slog.Logger, s string) { slog.NewLogLogger(l.Handler(), slog.LevelWarn).Print(s) },
			} {
				var out strings.Builder
				write(logger(&out, logging.Config{Format: logging.Text}), "begin "+text+" end")
				line, ended := strings.CutSuffix(colour.ReplaceAllString(out.String(), ""), "\n")
				if at := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); at >= 0 || !ended {
					t.Errorf("%s, %s: %q is written as %q", form, where, text, out.String())
				}
				if !strings.Contains(line, "end") {
					t.Errorf("%s, %s: of %q the end is missing in %q", form, where, text, out.String())
				}
			}
		}
	}
}

// Values that are no text, and those of ours, look as they did.
func TestTextIsReadable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	var none *valuer
	logging.New(&out, logging.Config{Format: logging.Text}).Error("größer als 5 µs", "n", 7, "ok", true, "reasons", []string{"a", "b"},
		"error", errors.Join(errors.New("first"), errors.New("second")), "name", "straße", "none", none)
	if want := `größer als 5 µs n=7 ok=true reasons="[a b]" error="first; second" name=straße none=`; !strings.Contains(out.String(), want) {
		t.Errorf("got %s, want %s", out.String(), want)
	}
}
