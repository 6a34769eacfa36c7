package agent

import (
	"errors"
	"fmt"
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
	seen := make(map[string]bool, len(t))
	for i := range t {
		target := &t[i]
		name := target.Path
		if err := tunnelv1.CheckPath(target.Path); err != nil {
			name = fmt.Sprintf("target %d", i+1)
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		} else if seen[target.Path] {
			faults = append(faults, fmt.Errorf("%s: given twice", name))
		}
		seen[target.Path] = true
		faults = append(faults, unjoin(prefixed(name+": ", target.fault()))...)
	}
	return errors.Join(faults...)
}
