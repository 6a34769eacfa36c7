package agent

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable says whether s is one line of valid UTF-8 without control
// characters or invisible ones that reorder a terminal's text.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unprintable)
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// graphic says whether s is visible ASCII without spaces.
func graphic(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// sayable makes one printable line of at most max bytes from what a peer wrote,
// so that it can forge no log line and fill no log.
func sayable(s string, max int) string {
	truncated := len(s) > max
	if truncated {
		s = s[:max]
	}
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return '?'
		}
		return r
	}, s)
	if truncated {
		s += "..."
	}
	return s
}

// byteSize writes n as the variables take it: with the largest unit that leaves a
// whole number.
func byteSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	unit := 0
	for n >= 1024 && n%1024 == 0 && unit < len(units)-1 {
		n /= 1024
		unit++
	}
	return strconv.FormatInt(n, 10) + units[unit]
}
