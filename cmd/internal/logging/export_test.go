package logging

import (
	"io"
	"log/slog"
)

// NewOnTerminal is New for a terminal, which w need not be.
func NewOnTerminal(w io.Writer, cfg Config) *slog.Logger { return newLogger(w, cfg, true) }
