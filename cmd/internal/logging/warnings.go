package logging

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// Warnings is a slog.Handler that keeps what is at least a warning, as a line of
// text each, for a command whose output people read.
type Warnings struct {
	shared *collected
	attrs  []slog.Attr
}

type collected struct {
	mu    sync.Mutex
	lines []string
}

// NewWarnings returns a handler that has collected nothing.
func NewWarnings() *Warnings { return &Warnings{shared: new(collected)} }

// Lines returns what was collected, in order.
func (w *Warnings) Lines() []string {
	w.shared.mu.Lock()
	defer w.shared.mu.Unlock()
	return slices.Clone(w.shared.lines)
}

// Enabled implements slog.Handler.
func (w *Warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (w *Warnings) Handle(_ context.Context, record slog.Record) error {
	facts := make([]string, 0, len(w.attrs)+record.NumAttrs())
	add := func(a slog.Attr) bool {
		facts = append(facts, fmt.Sprintf("%s %v", a.Key, a.Value.Resolve()))
		return true
	}
	for _, a := range w.attrs {
		add(a)
	}
	record.Attrs(add)
	line := record.Message
	if len(facts) > 0 {
		line += " (" + strings.Join(facts, ", ") + ")"
	}
	w.shared.mu.Lock()
	defer w.shared.mu.Unlock()
	w.shared.lines = append(w.shared.lines, printableText(line))
	return nil
}

// WithAttrs implements slog.Handler.
func (w *Warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Warnings{shared: w.shared, attrs: slices.Concat(w.attrs, attrs)}
}

// WithGroup implements slog.Handler. A line has no groups.
func (w *Warnings) WithGroup(string) slog.Handler { return w }
