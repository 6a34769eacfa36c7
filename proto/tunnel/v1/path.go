package tunnelv1

import (
	"errors"
	"fmt"
	"strings"
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

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
