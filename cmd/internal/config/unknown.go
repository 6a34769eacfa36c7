package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// findUnknown reports variables with our prefix that nobody reads, in whatever
// case they are written: a typing error would else be a setting that does
// nothing.
func findUnknown(values map[string]string, fields []field, others map[string]string, faults *Faults) {
	known := make([]string, 0, len(fields))
	for _, f := range fields {
		known = append(known, f.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !strings.HasPrefix(strings.ToUpper(name), Prefix) || slices.Contains(known, name) || serviceVariable(name, values) {
			continue
		}
		text := "unknown variable"
		if whose, ok := others[strings.ToUpper(name)]; ok {
			text = "is a variable of " + whose + ", which this is not"
		} else if near, ok := nearest(name, known); ok {
			text += fmt.Sprintf(", did you mean %s?", near)
		}
		faults.add(name, text)
	}
}

var (
	// serviceSuffix is how the names end that Kubernetes makes from a Service
	// called sallyport, or sallyport-anything, for every pod of its namespace.
	serviceSuffix = regexp.MustCompile(`^SALLYPORT(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	serviceURL    = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// serviceVariable tells whether Kubernetes set the variable. One that merely
// ends in _PORT is Kubernetes's only if it looks like it: somebody may well try
// SALLYPORT_TUNNEL_PORT=50051, and is to be told.
func serviceVariable(name string, values map[string]string) bool {
	if serviceSuffix.MatchString(name) {
		return true
	}
	service, ok := strings.CutSuffix(name, "_PORT")
	return ok && (serviceURL.MatchString(values[name]) || values[service+"_SERVICE_HOST"] != "")
}

// nearest returns the known name that takes the fewest edits, unless that is
// half of it.
func nearest(name string, known []string) (string, bool) {
	name = strings.ToUpper(name)
	best, least := "", len(name)
	for _, candidate := range known {
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best, least <= max(3, (len(name)-len(Prefix))/2)
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to come from a to b.
func distance(a, b string) int {
	older, old, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		older, old, row = old, row, older
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(old[j]+1, row[j-1]+1, old[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
