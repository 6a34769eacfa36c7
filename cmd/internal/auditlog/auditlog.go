// Package auditlog finds the place that an operator named for the audit log. Only
// commands import it; what a line says is authz's.
package auditlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Sink is where the audit log goes: one of the words, or the path of a file.
type Sink string

// The words.
const (
	Stderr Sink = "stderr"
	Stdout Sink = "stdout"
	Off    Sink = "off"
)

// UnmarshalText reads stderr, stdout, off or a path.
func (s *Sink) UnmarshalText(text []byte) error {
	sink := Sink(text)
	for _, word := range []Sink{Stderr, Stdout, Off} {
		if sink != word && strings.EqualFold(string(sink), string(word)) {
			return fmt.Errorf("%q, want %s, or a path if a file is meant", text, word)
		}
	}
	*s = sink
	return nil
}

// Log returns the log of that place: nil where it is off. A file is opened by Open,
// or by the first line.
func (s Sink) Log() *Log {
	switch s {
	case Off:
		return nil
	case Stderr:
		return &Log{w: os.Stderr}
	case Stdout:
		return &Log{w: os.Stdout}
	}
	return &Log{name: string(s)}
}

// Log takes lines. A file that was moved away is opened again under its name, so that
// it can be rotated without a signal.
type Log struct {
	w    io.Writer // where it is no file
	name string

	mu     sync.Mutex
	file   *os.File
	looked time.Time
}

// lookEvery is how long a file that was moved away is still written to.
const lookEvery = time.Second

// Check tells whether the log can be opened, and makes no file.
func (l *Log) Check() error {
	if l == nil || l.w != nil {
		return nil
	}
	info, err := os.Stat(l.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return checkFolder(filepath.Dir(l.name))
	case err != nil:
		return err
	case info.Mode()&(fs.ModeDir|fs.ModeNamedPipe|fs.ModeSocket) != 0:
		// To open a pipe would wait for whoever reads it.
		return fmt.Errorf("%s is no file", l.name)
	}
	file, err := os.OpenFile(l.name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return file.Close()
}

func checkFolder(name string) error {
	info, err := os.Stat(name)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", name)
	}
	return err
}

// Open opens the file. Only its owner may read one that it makes.
func (l *Log) Open() error {
	if l == nil || l.w != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.openLocked()
}

// Close closes the file.
func (l *Log) Close() error {
	if l == nil || l.w != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closeLocked()
}

// Write writes p at once.
func (l *Log) Write(p []byte) (int, error) {
	if l.w != nil {
		return l.w.Write(p)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.file != nil && now.Sub(l.looked) >= lookEvery {
		l.looked = now
		if l.movedLocked() {
			if err := l.closeLocked(); err != nil {
				return 0, err
			}
		}
	}
	if l.file == nil {
		if err := l.openLocked(); err != nil {
			return 0, err
		}
	}
	return l.file.Write(p)
}

// movedLocked tells whether another file, or none, has the name now.
func (l *Log) movedLocked() bool {
	open, err := l.file.Stat()
	if err != nil {
		return true
	}
	named, err := os.Stat(l.name)
	return err != nil || !os.SameFile(open, named)
}

func (l *Log) openLocked() error {
	if l.file != nil {
		return nil
	}
	file, err := os.OpenFile(l.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening audit log: %w", err)
	}
	l.file, l.looked = file, time.Now()
	return nil
}

func (l *Log) closeLocked() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
