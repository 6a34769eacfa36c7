package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

const (
	demoDomain   = "example.org"
	prometheus   = "prometheus"
	prometheusID = "spiffe://" + demoDomain + "/" + prometheus
	nobody       = "" // the certificate of who has none
	maxAnswer    = 8 << 20
)

// demoLeaf is a certificate of the demo.
type demoLeaf struct {
	name string // of its files
	id   string
	role pki.Role
}

var demoLeaves = []demoLeaf{
	{"proxy", "spiffe://" + demoDomain + "/proxy", pki.Proxy},
	{"team-a", "spiffe://" + demoDomain + "/team-a", pki.Agent},
	{"team-b", "spiffe://" + demoDomain + "/team-b", pki.Agent},
	{prometheus, prometheusID, pki.Scraper},
}

// folder holds all that the demo writes, and is removed with it.
type folder struct{ path string }

func newFolder() (folder, error) {
	path, err := os.MkdirTemp("", "sallyport-demo-")
	if err != nil {
		return folder{}, fmt.Errorf("making a folder: %w", err)
	}
	f := folder{path}
	if _, err := pki.Init(path, pki.InitOptions{TrustDomain: demoDomain, Lifetime: 24 * time.Hour, Demo: true}); err != nil {
		return folder{}, errors.Join(err, f.remove())
	}
	return f, nil
}

func (f folder) remove() error { return os.RemoveAll(f.path) }

func (f folder) file(name string) string { return filepath.Join(f.path, name) }

func (f folder) issue(leaf demoLeaf) error {
	request := pki.Request{Role: leaf.role, SPIFFEID: leaf.id}
	if leaf.role == pki.Proxy {
		request.DNSNames = []string{"localhost"}
		request.IPs = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	_, err := pki.Issue(f.path, pki.IssueOptions{Request: request, Name: leaf.name})
	return err
}

// identity is the configuration of a daemon with the certificate of that name.
func (f folder) identity(name string) authn.Config {
	return authn.Config{
		CertFile:    f.file(name + ".pem"),
		KeyFile:     f.file(name + "-key.pem"),
		CAFile:      f.file(pki.CACertFile),
		AllowDemoCA: true,
	}
}

// answer is what a scraper got.
type answer struct {
	status int
	body   string
	took   time.Duration
}

// get scrapes with the certificate of that name, or with none, on a connection
// of its own.
func (f folder) get(ctx context.Context, name, url string) (*answer, error) {
	anchors, err := os.ReadFile(f.file(pki.CACertFile))
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
	config.RootCAs.AppendCertsFromPEM(anchors)
	if name != nobody {
		pair, err := tls.LoadX509KeyPair(f.file(name+".pem"), f.file(name+"-key.pem"))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return &answer{status: response.StatusCode, body: string(body), took: time.Since(begin)}, nil
}

// lookAt gets a page of the dashboard, which is plain HTTP on this machine.
func lookAt(ctx context.Context, url string) (string, error) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return string(body), err
}

// samples counts those of a scrape in the text format.
func (a *answer) samples() int {
	n := 0
	for line := range strings.Lines(a.body) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			n++
		}
	}
	return n
}

// lines are the samples whose names begin so.
func (a *answer) lines(prefix string) []string {
	var found []string
	for line := range strings.Lines(a.body) {
		if strings.HasPrefix(line, prefix) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func (a *answer) firstLine() string {
	line, _, _ := strings.Cut(a.body, "\n")
	return line
}

// writePrometheusConfig writes prometheus.yml, whose paths are relative to it.
func (f folder) writePrometheusConfig(discovery string) error {
	text := fmt.Sprintf(`global:
  scrape_interval: 5s

scrape_configs:
  - job_name: sallyport
    tls_config: &identity
      cert_file: %[1]s.pem
      key_file: %[1]s-key.pem
      ca_file: %[2]s
    http_sd_configs:
      - url: %[3]s
        refresh_interval: 5s
        tls_config: *identity
`, prometheus, pki.CACertFile, discovery)
	return os.WriteFile(f.file("prometheus.yml"), []byte(text), 0o644)
}
