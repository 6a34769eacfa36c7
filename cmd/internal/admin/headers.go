package admin

import (
	"net"
	"net/http"
)

// contentSecurityPolicy lets a page have the assets of this listener and nothing else:
// should a name that an agent chose ever get into a page unescaped, it stays a name.
const contentSecurityPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; " +
	"img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

// protect sets what every answer has.
func protect(header http.Header) {
	header.Set("Content-Security-Policy", contentSecurityPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
}

// foreign tells whether a page of another origin made the browser ask, other than by a
// link to go there. It could read nothing of the answer, but take the place of someone
// who watches.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

// local tells whether a Host header, with or without a port, is a loopback one.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return loopback(name)
	}
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	return loopback(host)
}
