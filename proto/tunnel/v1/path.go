package tunnelv1

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxPath is the length of the longest route path, in bytes.
const MaxPath = 512

// CheckPath returns nil if path has the form of a route: one or more times
// "/segment", a segment being [A-Za-z0-9._-]+ as in a SPIFFE ID's path, none of
// them "." or "..", the first not "-" (such paths are the proxy's own) nor alone
// "metrics" or "debug". Nothing is ever cleaned up: what is not in this form is
// no route, so that the path which was authorised is the path which is used.
func CheckPath(path string) error {
	switch {
	case path == "":
		return errors.New("the path is empty")
	case len(path) > MaxPath:
		return fmt.Errorf("the path has %d bytes, more than %d", len(path), MaxPath)
	case path[0] != '/':
		return errors.New("the path does not begin with /")
	}
	first := true
	for segment := range strings.SplitSeq(path[1:], "/") {
		if err := checkSegment(segment); err != nil {
			return err
		}
		if first && (segment == "-" || segment == "metrics" || segment == "debug") {
			return fmt.Errorf("paths under /%s are the proxy's own", segment)
		}
		first = false
	}
	return nil
}

// Segments returns the segments of a path that CheckPath has passed.
func Segments(path string) []string {
	return strings.Split(path[1:], "/")
}

func checkSegment(segment string) error {
	switch segment {
	case "":
		return errors.New("the path has an empty segment")
	case ".", "..":
		return errors.New("the path has a dot segment")
	}
	for i := range len(segment) {
		if c := segment[i]; !isAlphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("the path has the byte %q; a segment is of A-Z a-z 0-9 . _ -", c)
		}
	}
	return nil
}

// CheckLabel returns nil if an agent may put a label of this name on its route:
// [a-zA-Z_][a-zA-Z0-9_]*, not beginning with "__", neither "job" nor "instance".
func CheckLabel(name string) error {
	switch {
	case name == "":
		return errors.New("a label has no name")
	case name == "job" || name == "instance":
		return fmt.Errorf("the label %s is set by Prometheus", name)
	case strings.HasPrefix(name, "__"):
		return fmt.Errorf("label names that begin with __ are reserved (%.64q)", name)
	}
	for i := range len(name) {
		c := name[i]
		if c != '_' && !isAlphanumeric(c) || i == 0 && '0' <= c && c <= '9' {
			return fmt.Errorf("the label name %.64q is not of the form [a-zA-Z_][a-zA-Z0-9_]*", name)
		}
	}
	return nil
}

// Bounds of the labels of one route. They stay in the proxy's memory for as long
// as the route does, times the routes of a fleet.
const (
	MaxLabels     = 32
	MaxLabelBytes = 8 << 10 // names and values of all of them
)

// CheckLabels returns nil if an agent may put these labels on a route: at most 32,
// of 8 KiB in all, each with a name that CheckLabel passes and a value in UTF-8.
func CheckLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return fmt.Errorf("the route has %d labels, more than %d", len(labels), MaxLabels)
	}
	size := 0
	for name, value := range labels {
		if err := CheckLabel(name); err != nil {
			return err
		}
		if !utf8.ValidString(value) {
			return fmt.Errorf("the value of the label %.64s is not UTF-8", name)
		}
		size += len(name) + len(value)
	}
	if size > MaxLabelBytes {
		return fmt.Errorf("the route's labels have %d bytes, more than %d", size, MaxLabelBytes)
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
