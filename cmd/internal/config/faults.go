package config

import (
	"errors"
	"slices"
	"strings"
)

// Faults collects what is wrong with a configuration. Its zero value is none.
type Faults struct {
	list []fault
	read int // how many of them were found while reading
}

type fault struct {
	variable string // "" where it lies with no variable alone
	text     string
}

func (f *Faults) add(variable, text string) {
	f.list = append(f.list, fault{variable, text})
}

// Add takes up what a Validate returned: each error that errors.Join put
// together is a fault of its own. One that names a variable which is at fault
// already is left out: it judged a value that nobody set. Nil adds nothing.
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
	variable, text, ok := strings.Cut(err.Error(), ": ")
	if !ok || !(strings.HasPrefix(variable, Prefix) || ownName[variable]) {
		variable, text = "", err.Error()
	}
	if variable != "" && f.loaded(variable) {
		return
	}
	f.list = append(f.list, fault{variable, text})
}

// loaded tells whether a variable was at fault when it was read. Validate may
// name one variable more than once, for different faults, and all are kept.
func (f *Faults) loaded(variable string) bool {
	return slices.ContainsFunc(f.list[:min(f.read, len(f.list))], func(known fault) bool {
		return known.variable == variable
	})
}

// Err returns nil, or one error with a fault on each line.
func (f *Faults) Err() error {
	var errs []error
	for _, fault := range f.list {
		if fault.variable == "" {
			errs = append(errs, errors.New(fault.text))
			continue
		}
		errs = append(errs, errors.New(fault.variable+": "+fault.text))
	}
	return errors.Join(errs...)
}
