package tunnelv1

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// Bounds of where a route leads, as its agent claims it, in bytes.
const (
	maxTargetHost = 255
	maxTargetPath = 2048
)

// CheckTarget returns nil if an agent may claim that a route leads there: to itself, or by
// http or https to a host, a port and a path that mean the same to every reader. The
// proxy's operator sees them as one URL: what would end the host or the path before its
// end, hide something, or be many URLs at once is no target. A path may have characters
// that mean something to a shell, as paths do, so a command quotes it.
func CheckTarget(t *Target) error {
	if t.GetScheme() == "self" { // the agent's own metrics, which are nowhere else
		if t.GetHost() != "" || t.GetPort() != 0 || t.GetPath() != "" {
			return errors.New("the target is the agent itself, and has a host, a port or a path")
		}
		return nil
	}
	path := t.GetPath()
	switch {
	case t.GetScheme() != "http" && t.GetScheme() != "https":
		return errors.New("the target's scheme is neither http, https nor self")
	case t.GetHost() == "" || t.GetPort() == 0 || t.GetPort() > 65535:
		return errors.New("the target has no host or no port")
	case len(t.GetHost()) > maxTargetHost || len(path) > maxTargetPath:
		return errors.New("the target is too long")
	case !isHost(t.GetHost()):
		return errors.New("the target's host has characters that no host has")
	case path != "" && path[0] != '/', !isVisible(path), strings.ContainsAny(path, "?#{}<>\\^|`\""):
		return errors.New("the target's path does not begin with / or has a character that a path escapes")
	}
	if _, err := url.ParseRequestURI(path); path != "" && err != nil {
		return errors.New("the target's path is malformed")
	}
	return nil
}

// isHost takes any name that a resolver might: some have _ and more. An address of IPv6
// stands without brackets and alone may have colons, and a zone behind %.
func isHost(host string) bool {
	if !isVisible(host) || strings.ContainsAny(host, "@/?#[]{}<>\\`'\"$();&|*!,=^") {
		return false
	}
	if strings.ContainsAny(host, ":%") {
		addr, err := netip.ParseAddr(host)
		return err == nil && addr.Is6() && !strings.ContainsAny(addr.Zone(), "%:")
	}
	return true
}

// isVisible tells whether s is visible ASCII and nothing else.
func isVisible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
