package testenv

import (
	"bytes"
	"sync"
	"testing"
)

// Logs collects what the daemons of a world log, and shows it when the test has
// failed.
type Logs struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func newLogs(tb testing.TB) *Logs {
	l := new(Logs)
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("logs of the world:\n%s", l.String())
		}
	})
	return l
}

// Write implements io.Writer.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

// String returns everything logged so far.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// Forget drops what was logged so far.
func (l *Logs) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buffer = bytes.Buffer{}
}
