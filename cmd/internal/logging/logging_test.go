package logging_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/logging"
)

func TestFormats(t *testing.T) {
	t.Parallel()
	for _, format := range []logging.Format{"", logging.Auto, logging.JSON} {
		var out strings.Builder
		logging.New(&out, logging.Config{Format: format}).Info("hello", "peer", "a\nb")
		var record map[string]any
		if err := json.Unmarshal([]byte(out.String()), &record); err != nil {
			t.Fatalf("%q: %v in %q", format, err, out.String())
		}
		if record["msg"] != "hello" || record["peer"] != "a\nb" {
			t.Errorf("%q: got %v", format, record)
		}
	}
	var out strings.Builder
	logging.New(&out, logging.Config{Format: logging.Text}).Info("hello", "peer", "a\nb")
	if got := out.String(); !strings.Contains(got, "INF hello peer=") || strings.Count(got, "\n") != 1 || strings.Contains(got, "\x1b") {
		t.Errorf("text: got %q", got)
	}
}

func TestDurationsHaveAUnit(t *testing.T) {
	t.Parallel()
	for _, format := range []logging.Format{logging.JSON, logging.Text} {
		var out strings.Builder
		logging.New(&out, logging.Config{Format: format}).With("since", time.Minute).Info("hello", "after", 37*time.Second)
		if got := out.String(); !strings.Contains(got, "37s") || !strings.Contains(got, "1m0s") {
			t.Errorf("%s: got %q", format, got)
		}
	}
}

func TestWarningsAreLines(t *testing.T) {
	t.Parallel()
	warnings := logging.NewWarnings()
	log := slog.New(warnings)
	log.Info("all is well")
	log.With("file", "key.pem").WithGroup("g").Warn("key file is open", "mode", 0o640, "cause", errors.New("a\nb\x1b[8m"))
	log.Error("short")
	want := []string{"key file is open (file key.pem, mode 416, cause a; b\\u001b[8m)", "short"}
	if got := warnings.Lines(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLevel(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]slog.Level{"debug": slog.LevelDebug, "INFO": slog.LevelInfo, "Warn": slog.LevelWarn, "error": slog.LevelError} {
		var level logging.Level
		if err := level.UnmarshalText([]byte(text)); err != nil || slog.Level(level) != want {
			t.Errorf("%s: got %v, %v", text, slog.Level(level), err)
		}
		var out strings.Builder
		log := logging.New(&out, logging.Config{Level: level})
		log.Log(t.Context(), want-1, "below")
		log.Log(t.Context(), want, "at")
		if strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%s: logged %q", text, out.String())
		}
	}
	var level logging.Level
	var format logging.Format
	if level.UnmarshalText([]byte("loud")) == nil || format.UnmarshalText([]byte("xml")) == nil {
		t.Error("took a word that it does not know")
	}
}
