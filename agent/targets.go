package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// Targets is what an agent offers, each under its own path.
type Targets []Target

// UnmarshalText reads path=url entries separated by commas or newlines. The
// first = splits, spaces around an entry do not count. It never fails: what is
// malformed stays in the list for Validate, which reports every fault at once.
func (t *Targets) UnmarshalText(text []byte) error {
	*t = nil
	entries := strings.FieldsFunc(string(text), func(r rune) bool { return r == ',' || r == '\n' })
	for _, entry := range entries {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		path, url, _ := strings.Cut(entry, "=")
		*t = append(*t, Target{Path: strings.TrimSpace(path), URL: strings.TrimSpace(url)})
	}
	return nil
}

// Validate reports every fault, each with its target's path, or with its number
// where the path itself is wrong. It quotes nothing else of the input: a piece
// of a URL that a comma cut off may be a secret.
func (t Targets) Validate() error {
	var faults []error
	if len(t) > maxTargets {
		return fmt.Errorf("%d targets, at most %d", len(t), maxTargets)
	}
	seen := make(map[string]int, len(t))
	for i := range t {
		target := &t[i]
		name := target.Path
		if err := tunnelv1.CheckPath(target.Path); err != nil {
			name = t.place(i)
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		} else if first, ok := seen[target.Path]; ok {
			faults = append(faults, fmt.Errorf("%s: given twice: %s", name, t.places(first, i)))
		} else {
			seen[target.Path] = i
		}
		faults = append(faults, unjoin(prefixed(name+": ", target.fault()))...)
	}
	return errors.Join(faults...)
}

// place is where in its source a target stands.
func (t Targets) place(i int) string {
	if line := t[i].line; line > 0 {
		return fmt.Sprintf("line %d", line)
	}
	return fmt.Sprintf("target %d", i+1)
}

// places is where two targets stand, the first of which may be of another source.
func (t Targets) places(first, second int) string {
	of := ""
	if t[first].line == 0 && t[second].line > 0 {
		of = " of SALLYPORT_TARGETS"
	}
	return t.place(first) + of + " and " + t.place(second)
}

// withFileFaults joins to err the faults in the files that the targets name.
func (t Targets) withFileFaults(err error) error {
	faults := unjoin(err)
	for i := range t {
		faults = append(faults, unjoin(prefixed(t[i].Path+": ", t[i].checkFiles()))...)
	}
	return errors.Join(faults...)
}

// TargetInfo is of a target what may be shown to anyone who may see the
// configuration.
type TargetInfo struct {
	Path string
	// URL has neither user nor query, which may hold a secret; or it is self.
	URL string
}

// Targets lists what the agent offers, sorted by path.
func (a *Agent) Targets() []TargetInfo {
	endpoints := a.table.load().endpoints
	list := make([]TargetInfo, 0, len(endpoints))
	for _, path := range slices.Sorted(maps.Keys(endpoints)) {
		list = append(list, TargetInfo{Path: path, URL: endpoints[path].shown()})
	}
	return list
}
