package agent

import (
	"errors"
	"fmt"
	"strings"
)

const maxPathBytes = 512

// checkPath holds a route's path to the public contract: "/segment" once or
// more, a segment being [A-Za-z0-9._-]+ and neither "." nor "..", 512 bytes in
// all. Nothing is cleaned up: what is not in this form is refused.
func checkPath(path string) error {
	if len(path) > maxPathBytes {
		return fmt.Errorf("longer than %d bytes", maxPathBytes)
	}
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return errors.New("does not begin with /")
	}
	for i, segment := range strings.Split(rest, "/") {
		if err := checkSegment(segment); err != nil {
			return err
		}
		if i == 0 && reservedSegment(segment) {
			return fmt.Errorf("/%s is reserved for the proxy", segment)
		}
	}
	return nil
}

func checkSegment(segment string) error {
	switch segment {
	case "":
		return errors.New("has an empty segment")
	case ".", "..":
		return errors.New("has a segment . or ..")
	}
	for i := range len(segment) {
		if !segmentByte(segment[i]) {
			return errors.New("has a character other than A-Z a-z 0-9 . _ -")
		}
	}
	return nil
}

func segmentByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '.' || c == '_' || c == '-'
}

func reservedSegment(first string) bool {
	return first == "-" || first == "metrics" || first == "debug"
}
