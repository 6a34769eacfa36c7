// Package logging makes the daemons' logger from their configuration. It is the
// one place that knows how a log looks; the libraries are given a slog.Logger.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// Config says what is logged and how.
type Config struct {
	Level  Level  `env:"LOG_LEVEL" envDefault:"info" help:"the least severe that is logged: debug, info, warn, error"`
	Format Format `env:"LOG_FORMAT" envDefault:"auto" help:"auto (colours on a terminal, JSON otherwise), text or json"`
}

// Level is the least severity that is logged.
type Level slog.Level

// UnmarshalText reads debug, info, warn or error, in any case.
func (l *Level) UnmarshalText(text []byte) error {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(string(text), level.String()) {
			*l = Level(level)
			return nil
		}
	}
	return fmt.Errorf("%.32q is none of debug, info, warn, error", text)
}

// Format is how a record is written.
type Format string

// The formats. The zero value counts as Auto.
const (
	Auto Format = "auto" // text in colour on a terminal, JSON otherwise
	Text Format = "text"
	JSON Format = "json"
)

// UnmarshalText reads auto, text or json.
func (f *Format) UnmarshalText(text []byte) error {
	switch format := Format(text); format {
	case Auto, Text, JSON:
		*f = format
		return nil
	}
	return fmt.Errorf("%.32q is none of auto, text, json", text)
}

// New returns a logger that writes to w. Colours appear only where w is a
// terminal, in either format that could have them.
func New(w io.Writer, cfg Config) *slog.Logger {
	return newLogger(w, cfg, isTerminal(w))
}

func newLogger(w io.Writer, cfg Config, terminal bool) *slog.Logger {
	level := slog.Level(cfg.Level)
	if cfg.Format == JSON || cfg.Format != Text && !terminal {
		return slog.New(slog.NewJSONHandler(lines{w}, &slog.HandlerOptions{Level: level, ReplaceAttr: withUnit}))
	}
	return slog.New(printable{tint.NewTextHandler(w, &tint.Options{
		Level:      level,
		TimeFormat: time.TimeOnly,
		NoColor:    !terminal,
	})})
}

// withUnit writes a duration as text, as in 37s: a bare number of nanoseconds says
// nothing to who reads it.
func withUnit(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
