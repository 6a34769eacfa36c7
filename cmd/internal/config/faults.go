package config

import (
	"errors"
	"strings"
)

// Faults collects what is wrong with a configuration. Its zero value is none.
type Faults struct {
	list []error
	// unread holds the variables whose value could not be taken, so that the
	// field still has its default.
	unread map[string]bool
}

func (f *Faults) add(variable, text string) {
	if f.unread == nil {
		f.unread = make(map[string]bool)
	}
	f.unread[variable] = true
	f.list = append(f.list, errors.New(variable+": "+text))
}

// Add takes up what a Validate returned: each error that errors.Join put
// together is a fault of its own. One that begins with the name of a variable
// that could not be read is left out: it judges a value that nobody set. Nil
// adds nothing.
func (f *Faults) Add(err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			f.Add(err)
		}
		return
	}
	if variable, _, ok := strings.Cut(err.Error(), ": "); ok && f.unread[variable] {
		return
	}
	f.list = append(f.list, err)
}

// Err returns nil, or one error with a fault on each line.
func (f *Faults) Err() error { return errors.Join(f.list...) }
