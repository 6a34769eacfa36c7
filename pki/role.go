package pki

import (
	"crypto/x509"
	"fmt"
)

// Role is what a leaf is for. It decides the extended key usage.
type Role uint8

// The roles. The zero value is none of them and is refused.
const (
	Proxy   Role = iota + 1 // listens: serverAuth
	Agent                   // dials the proxy: clientAuth
	Scraper                 // scrapes the proxy: clientAuth
)

// ParseRole reads "proxy", "agent" or "scraper".
func ParseRole(text string) (Role, error) {
	for _, role := range []Role{Proxy, Agent, Scraper} {
		if text == role.String() {
			return role, nil
		}
	}
	return 0, fmt.Errorf("role %q: want proxy, agent or scraper", text)
}

func (r Role) String() string {
	switch r {
	case Proxy:
		return "proxy"
	case Agent:
		return "agent"
	case Scraper:
		return "scraper"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

func (r Role) usage() (x509.ExtKeyUsage, error) {
	switch r {
	case Proxy:
		return x509.ExtKeyUsageServerAuth, nil
	case Agent, Scraper:
		return x509.ExtKeyUsageClientAuth, nil
	}
	return 0, fmt.Errorf("%v: want proxy, agent or scraper", r)
}
