package main

import (
	"fmt"
	"path/filepath"

	"github.com/seed-951114d4/sallyport/pki"
)

const (
	trustDomain = "bench.example"
	// serverName is whom every listener's certificate names.
	serverName = "localhost"
)

// folder holds the certificates of everybody: NAME.pem and NAME-key.pem.
type folder string

func (f folder) file(name string) string { return filepath.Join(string(f), name) }

// mint fills the folder. Base and sallyport get the same kind of certificate.
func (f folder) mint() error {
	if _, err := pki.Init(string(f), pki.InitOptions{TrustDomain: trustDomain}); err != nil {
		return fmt.Errorf("minting authority: %w", err)
	}
	for _, leaf := range []struct {
		name, id string
		role     pki.Role
	}{
		{"proxy", "proxy", pki.Proxy},
		{"agent", "team-a/node", pki.Agent},
		{"scraper", "prometheus", pki.Scraper},
		{"outer", "outer", pki.Proxy},
		{"outer-client", "outer", pki.Agent},
		{"inner", "inner", pki.Proxy},
	} {
		request := pki.Request{Role: leaf.role, SPIFFEID: spiffeID(leaf.id)}
		if leaf.role == pki.Proxy {
			request.DNSNames = []string{serverName}
		}
		if _, err := pki.Issue(string(f), pki.IssueOptions{Request: request, Name: leaf.name}); err != nil {
			return fmt.Errorf("minting certificate of %s: %w", leaf.name, err)
		}
	}
	return nil
}

func spiffeID(path string) string { return "spiffe://" + trustDomain + "/" + path }
