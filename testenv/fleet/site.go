package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
)

// site is the folder with what both processes need: an authority, the proxy's
// certificate, the proxy's program and its logs.
type site struct {
	dir   string
	proxy string // the program
	made  bool   // the folder is ours to remove
}

func newSite(o options) (*site, error) {
	s := &site{dir: o.dir, proxy: o.proxy}
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "sallyport-fleet-")
		if err != nil {
			return nil, err
		}
		s.dir, s.made = dir, true
	}
	if _, err := pki.Init(s.dir, pki.InitOptions{TrustDomain: testenv.TrustDomain, Force: true}); err != nil {
		return s, err
	}
	_, err := pki.Issue(s.dir, pki.IssueOptions{Force: true, Name: "proxy", Request: pki.Request{
		Role: pki.Proxy, SPIFFEID: testenv.ID("proxy"), DNSNames: []string{"localhost"},
	}})
	if err != nil || s.proxy != "" {
		return s, err
	}
	s.proxy = s.path("sallyport-proxy")
	build := exec.Command("go", "build", "-tags", testenv.BuildTags, "-trimpath", "-ldflags=-s", "-o", s.proxy,
		"github.com/seed-951114d4/sallyport/cmd/sallyport-proxy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return s, fmt.Errorf("building the proxy: %w\n%s", err, out)
	}
	return s, nil
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) close() {
	if s.made {
		_ = os.RemoveAll(s.dir)
	}
}

// scraper is a client that may scrape everything.
func (s *site) scraper() (*http.Client, error) {
	ca, err := pki.Load(s.dir)
	if err != nil {
		return nil, err
	}
	leaf, err := ca.Issue(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")})
	if err != nil {
		return nil, err
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		MaxIdleConnsPerHost: 64,
		TLSClientConfig: &tls.Config{
			RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{leaf.TLS()},
		},
	}}, nil
}

// agentPath is the path of an agent's identity, and begins its routes.
func agentPath(agent int) string { return fmt.Sprintf("team-%d/node-%d", agent%100, agent) }

func routePath(agent, route int) string {
	return fmt.Sprintf("/%s/app-%d", agentPath(agent), route)
}
