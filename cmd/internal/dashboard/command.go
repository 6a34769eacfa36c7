package dashboard

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf16"

	"github.com/seed-951114d4/sallyport/authz"
)

// evalCommand makes a decision again, on what the policy was asked. It is one line of
// printable ASCII for a POSIX shell, in which nothing that a peer chose can end the
// quotes or be anything but data.
func evalCommand(policy authz.Status, input []byte) string {
	if len(input) == 0 {
		return ""
	}
	key := ""
	if policy.Signed {
		key = ` --key "$SALLYPORT_POLICY_KEY_FILE"`
	}
	return fmt.Sprintf("printf '%%s' '%s' | sallyport policy eval %s%s --explain --input -", plainJSON(input), quote(policy.Name), key)
}

// plainJSON writes a JSON document in visible ASCII without apostrophes: all of these can
// only be in its strings, where another way to write them means the same.
func plainJSON(document []byte) string {
	var out strings.Builder
	for _, r := range string(document) {
		switch {
		case r >= ' ' && r <= '~' && r != '\'':
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

var bare = regexp.MustCompile(`^[A-Za-z0-9_./:@+=][A-Za-z0-9_./:@+=-]*$`)

// quote makes one word of a text for a POSIX shell.
func quote(s string) string {
	if bare.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
