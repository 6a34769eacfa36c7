package testenv

import (
	"slices"
	"sync"

	"github.com/seed-951114d4/sallyport/authz"
)

// Audit remembers what a world's proxy recorded.
type Audit struct {
	mu     sync.Mutex
	events []authz.Event
}

// Record implements proxy.Recorder.
func (a *Audit) Record(e authz.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, e)
}

// Events are those of an action and an effect so far.
func (a *Audit) Events(action string, effect authz.Effect) []authz.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.events), func(e authz.Event) bool { return e.Action != action || e.Effect != effect })
}

// Forget drops what was recorded so far.
func (a *Audit) Forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = nil
}
