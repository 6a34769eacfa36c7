package agent_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/pki"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// targetCA is the authority of https targets.
type targetCA struct {
	*pki.CA
	dir    string
	caFile string
}

func newTargetCA(t *testing.T) *targetCA {
	t.Helper()
	ca, err := pki.NewCA(pki.CAConfig{TrustDomain: "targets.example"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &targetCA{CA: ca, dir: dir, caFile: writeFile(t, dir, "ca.pem", ca.CertPEM())}
}

func (ca *targetCA) issue(t *testing.T, request pki.Request) *pki.Leaf {
	t.Helper()
	leaf, err := ca.Issue(request)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// start starts an https target. It tells the names of its clients' certificates.
func (ca *targetCA) start(t *testing.T, request pki.Request, clients tls.ClientAuthType) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "# %d clients, HTTP/%d\n", len(r.TLS.PeerCertificates), r.ProtoMajor)
	}))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.CertPEM())
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{ca.issue(t, request).TLS()},
		ClientAuth:   clients, ClientCAs: pool,
		NextProtos: []string{"h2", "http/1.1"},
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func TestTargetTLS(t *testing.T) {
	t.Parallel()
	ca, other := newTargetCA(t), newTargetCA(t)
	local := pki.Request{Role: pki.Proxy, DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}
	named := pki.Request{Role: pki.Proxy, DNSNames: []string{"node.example"}}
	expired := local
	expired.NotBefore, expired.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(-time.Second)
	client := ca.issue(t, pki.Request{Role: pki.Agent, DNSNames: []string{"agent.example"}})
	key, err := client.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := writeFile(t, ca.dir, "cert.pem", client.CertPEM()), writeFile(t, ca.dir, "key.pem", key)
	plain := startTarget(t, func(http.ResponseWriter, *http.Request) {})

	for name, tt := range map[string]struct {
		url    string
		tls    *agent.TargetTLS
		code   tunnelv1.End_Code
		reason string
		body   string
	}{
		"trusted":             {ca.start(t, local, 0), &agent.TargetTLS{CAFile: ca.caFile}, tunnelv1.End_COMPLETE, "", "# 0 clients, HTTP/1\n"},
		"system roots":        {ca.start(t, local, 0), nil, tunnelv1.End_REJECTED, "its certificate is signed by an unknown authority", ""},
		"system roots, named": {ca.start(t, local, 0), &agent.TargetTLS{ServerName: "localhost"}, tunnelv1.End_REJECTED, "its certificate is signed by an unknown authority", ""},
		"another authority":   {ca.start(t, local, 0), &agent.TargetTLS{CAFile: other.caFile}, tunnelv1.End_REJECTED, "its certificate is signed by an unknown authority", ""},
		"another name":        {ca.start(t, named, 0), &agent.TargetTLS{CAFile: ca.caFile}, tunnelv1.End_REJECTED, "its certificate is for another name", ""},
		"server name":         {ca.start(t, named, 0), &agent.TargetTLS{CAFile: ca.caFile, ServerName: "node.example"}, tunnelv1.End_COMPLETE, "", "# 0 clients, HTTP/1\n"},
		"expired":             {ca.start(t, expired, 0), &agent.TargetTLS{CAFile: ca.caFile}, tunnelv1.End_REJECTED, "its certificate has expired or is not yet valid", ""},
		"client certificate":  {ca.start(t, local, tls.RequireAndVerifyClientCert), &agent.TargetTLS{CAFile: ca.caFile, CertFile: certFile, KeyFile: keyFile}, tunnelv1.End_COMPLETE, "", "# 1 clients, HTTP/1\n"},
		"not TLS":             {strings.Replace(plain, "http:", "https:", 1), &agent.TargetTLS{CAFile: ca.caFile}, tunnelv1.End_UNREACHABLE, "it does not speak TLS", ""},
		"not TLS, unnamed":    {strings.Replace(plain, "http:", "https:", 1), nil, tunnelv1.End_UNREACHABLE, "it does not speak TLS", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: tt.url, TLS: tt.tls}}})
			a := scrape(t, r.lane(t), &tunnelv1.ScrapeRequest{Path: "/a"})
			if a.end.GetCode() != tt.code || a.end.GetReason() != tt.reason || string(a.body) != tt.body {
				t.Errorf("end = %v, body = %q", a.end, a.body)
			}
		})
	}
	t.Run("client certificate missing", func(t *testing.T) {
		t.Parallel()
		r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: ca.start(t, local, tls.RequireAndVerifyClientCert), TLS: &agent.TargetTLS{CAFile: ca.caFile}}}})
		a := scrape(t, r.lane(t), &tunnelv1.ScrapeRequest{Path: "/a"})
		if a.end.GetCode() != tunnelv1.End_UNREACHABLE && a.end.GetCode() != tunnelv1.End_BROKEN || a.head != nil {
			t.Errorf("end = %v", a.end)
		}
	})
}

// The files are read for each connection, and a fault in them is a target's.
func TestTargetTLSFilesMayChange(t *testing.T) {
	t.Parallel()
	ca := newTargetCA(t)
	url := ca.start(t, pki.Request{Role: pki.Proxy, DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}, 0)
	other := newTargetCA(t)
	file := writeFile(t, ca.dir, "rotating.pem", other.CertPEM())
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url, TLS: &agent.TargetTLS{CAFile: file}}}})
	lane := r.lane(t)
	for _, step := range []struct {
		content string
		code    tunnelv1.End_Code
	}{
		{string(other.CertPEM()), tunnelv1.End_REJECTED},
		{"", tunnelv1.End_UNREACHABLE},
		{string(other.CertPEM()) + string(ca.CertPEM()), tunnelv1.End_COMPLETE},
	} {
		writeFile(t, ca.dir, "rotating.pem", []byte(step.content))
		if a := scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/a"}); a.end.GetCode() != step.code || strings.Contains(a.end.GetReason(), "pem") {
			t.Errorf("%d bytes: %v", len(step.content), a.end)
		}
	}
}

func TestTargetTLSFilesAtTheStart(t *testing.T) {
	t.Parallel()
	ca := newTargetCA(t)
	leaf, another := ca.issue(t, pki.Request{Role: pki.Agent, DNSNames: []string{"a.example"}}), ca.issue(t, pki.Request{Role: pki.Agent, DNSNames: []string{"a.example"}})
	key, err := leaf.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	cert := writeFile(t, ca.dir, "cert.pem", leaf.CertPEM())
	private := writeFile(t, ca.dir, "key.pem", key)
	open := writeFile(t, ca.dir, "open.pem", key)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		tls   agent.TargetTLS
		fault string
	}{
		"open key":    {agent.TargetTLS{CertFile: cert, KeyFile: open}, `open.pem: is readable by others`},
		"other's key": {agent.TargetTLS{CertFile: writeFile(t, ca.dir, "another.pem", another.CertPEM()), KeyFile: private}, `does not match`},
		"no PEM":      {agent.TargetTLS{CAFile: writeFile(t, ca.dir, "none.pem", []byte("none"))}, `none.pem: holds no certificate`},
		"no key":      {agent.TargetTLS{CertFile: cert, KeyFile: ca.dir}, `.*`},
		"no chain":    {agent.TargetTLS{CertFile: ca.dir, KeyFile: private}, `is not a regular file`},
		"huge":        {agent.TargetTLS{CAFile: writeFile(t, ca.dir, "huge.pem", make([]byte, 1<<20+1))}, `is larger than 1048576 bytes`},
	} {
		t.Run(name, func(t *testing.T) {
			yaml := fmt.Sprintf("targets: [{path: /a, url: https://x, tls: {ca_file: %q, cert_file: %q, key_file: %q}}]", tt.tls.CAFile, tt.tls.CertFile, tt.tls.KeyFile)
			cfg := validConfig()
			cfg.Targets, cfg.TargetsFile = nil, writeFile(t, t.TempDir(), "targets.yaml", []byte(yaml))
			_, err := agent.New(cfg, agent.Parts{})
			wantFaults(t, err, `SALLYPORT_TARGETS_FILE: /a: tls: .*`+tt.fault+`.*`)
		})
	}
}

func TestTargetCredentials(t *testing.T) {
	t.Parallel()
	url := startTarget(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("Authorization"))
	})
	dir := t.TempDir()
	password, token := writeFile(t, dir, "password", []byte("hunter2\n")), writeFile(t, dir, "token", []byte("t0ken\n"))
	r := startRig(t, rigOptions{targets: agent.Targets{
		{Path: "/basic", URL: url, BasicAuth: &agent.BasicAuth{Username: "prom", PasswordFile: password}},
		{Path: "/bearer", URL: url, Authorization: &agent.Authorization{CredentialsFile: token}},
		{Path: "/none", URL: url},
	}})
	lane := r.lane(t)
	want := func(path, header string) {
		t.Helper()
		a := scrape(t, lane, &tunnelv1.ScrapeRequest{Path: path})
		if string(a.body) != header || a.end.GetCode() != tunnelv1.End_COMPLETE {
			t.Errorf("%s: %q, %v", path, a.body, a.end)
		}
	}
	want("/basic", "Basic "+base64.StdEncoding.EncodeToString([]byte("prom:hunter2")))
	want("/bearer", "Bearer t0ken")
	want("/none", "")
	writeFile(t, dir, "token", []byte("another"))
	want("/bearer", "Bearer another")

	// A fault in the file is told without what is in it.
	for _, content := range []string{"", " \n", "t0ken t0ken", "t0ken\r\nEvil: 1", strings.Repeat("t0ken", 20_000)} {
		writeFile(t, dir, "token", []byte(content))
		a := scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/bearer"})
		if a.end.GetCode() != tunnelv1.End_UNREACHABLE || a.end.GetReason() != "the agent cannot read the target's credential" {
			t.Errorf("%.20q: %v", content, a.end)
		}
	}
	if log := r.log.String(); strings.Contains(log, "t0ken") || strings.Contains(log, "hunter2") {
		t.Errorf("the log tells a secret: %s", log)
	}
}
