package authn_test

import (
	"net"
	"strings"
	"testing"

	"github.com/caarlos0/env/v10"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

// A secret that was put where its path belongs is not repeated.
func TestConfigKeepsKeysToItself(t *testing.T) {
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	leaf := agentLeaf(t, ca)
	key := string(keyPEM(t, leaf))
	whole := put(t, t.TempDir(), leaf, ca)
	oneLine := strings.ReplaceAll(key, "\n", " ")
	body := strings.Join(strings.Split(key, "\n")[1:4], "\n")
	for _, secret := range []string{key, oneLine, body} {
		cfg := whole
		cfg.KeyFile = secret
		_, err := authn.NewFiles(cfg, authn.Client, discard())
		checkKept(t, err, "SALLYPORT_TLS_KEY_FILE: ", leaf)
		cfg = whole
		cfg.CertFile, cfg.CAFile = secret, secret
		cfg.FederatedCAFiles = authn.FederatedFiles{{TrustDomain: spiffeid.RequireTrustDomainFromString("partner.example"), File: secret}}
		_, err = authn.NewSource(cfg, authn.Client, discard())
		for _, name := range []string{"SALLYPORT_TLS_CERT_FILE: ", "SALLYPORT_TLS_CA_FILE: ", "SALLYPORT_FEDERATED_CA_FILES: "} {
			checkKept(t, err, name, leaf)
		}
		for name, scrape := range map[string]authn.ScrapeConfig{
			"SALLYPORT_SCRAPE_TLS_KEY_FILE: ":  {CertFile: whole.CertFile, KeyFile: secret},
			"SALLYPORT_SCRAPE_TLS_CERT_FILE: ": {CertFile: secret, KeyFile: whole.KeyFile},
			"SALLYPORT_SCRAPE_TLS_CA_FILE: ":   {CAFile: secret},
		} {
			_, err := authn.NewScrape(files(t, authn.Server, proxyLeaf(t, ca), ca), scrape, discard())
			checkKept(t, err, name, leaf)
		}
	}
}

func checkKept(t *testing.T, err error, says string, leaf *pki.Leaf) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Fatalf("%v, want it to say %q", err, says)
	}
	checkSecret(t, err.Error(), leaf)
}

func TestConfigValidate(t *testing.T) {
	id := spiffeid.RequireFromString(prxyID)
	all := authn.Config{CertFile: "a", KeyFile: "b", CAFile: "c"}
	federated := authn.FederatedFiles{{TrustDomain: id.TrustDomain(), File: "d"}}
	for _, test := range []struct {
		name string
		cfg  interface{ Validate() error }
		says []string
	}{
		{"files", all, nil},
		{"Workload API", authn.Config{Socket: "unix:///run/api.sock", SPIFFEID: id}, nil},
		{"nothing", authn.Config{}, []string{"SALLYPORT_TLS_CERT_FILE", "SPIFFE_ENDPOINT_SOCKET"}},
		{"both", authn.Config{CertFile: "a", KeyFile: "b", CAFile: "c", Socket: "unix:///a"}, []string{"SPIFFE_ENDPOINT_SOCKET: ", "SALLYPORT_TLS_CERT_FILE", "SALLYPORT_TLS_KEY_FILE", "SALLYPORT_TLS_CA_FILE"}},
		{"federated files with the Workload API", authn.Config{FederatedCAFiles: federated, Socket: "unix:///a"}, []string{"SALLYPORT_FEDERATED_CA_FILES"}},
		{"only federated files", authn.Config{FederatedCAFiles: federated}, []string{"SALLYPORT_TLS_CERT_FILE: ", "SALLYPORT_TLS_KEY_FILE: ", "SALLYPORT_TLS_CA_FILE: "}},
		{"no key, no anchors", authn.Config{CertFile: "a"}, []string{"SALLYPORT_TLS_KEY_FILE: ", "SALLYPORT_TLS_CA_FILE: "}},
		{"bad address", authn.Config{Socket: "/run/api.sock"}, []string{"SPIFFE_ENDPOINT_SOCKET: "}},
		{"Workload API on loopback", authn.Config{Socket: "tcp://127.0.0.1:8081"}, nil},
		{"Workload API on loopback, IPv6", authn.Config{Socket: "tcp://[::1]:8081"}, nil},
		{"Workload API elsewhere", authn.Config{Socket: "tcp://192.0.2.1:8081"}, []string{"SPIFFE_ENDPOINT_SOCKET: ", "in the clear"}},
		{"Workload API anywhere", authn.Config{Socket: "tcp://0.0.0.0:8081"}, []string{"SPIFFE_ENDPOINT_SOCKET: ", "in the clear"}},
		{"SPIFFE ID without Workload API", authn.Config{CertFile: "a", KeyFile: "b", CAFile: "c", SPIFFEID: id}, []string{"SALLYPORT_SPIFFE_ID: "}},
		{"all at once", authn.Config{KeyFile: "a", Socket: "x", SPIFFEID: id.TrustDomain().ID()}, []string{"choose", "scheme", "SALLYPORT_SPIFFE_ID: "}},
		{"agent", authn.AgentConfig{Config: all}, nil},
		{"agent with the proxy's ID", authn.AgentConfig{Config: authn.Config{Socket: "unix:///a"}, ProxyID: id}, nil},
		{"agent without it", authn.AgentConfig{Config: authn.Config{Socket: "unix:///a"}}, []string{"SALLYPORT_PROXY_ID: is required"}},
		{"agent with a trust domain for it", authn.AgentConfig{ProxyID: id.TrustDomain().ID()}, []string{"SALLYPORT_PROXY_ID: ", "SALLYPORT_TLS_CERT_FILE: "}},
		{"scrape side", authn.ScrapeConfig{CertFile: "a", KeyFile: "b"}, nil},
		{"scrape side, anchors", authn.ScrapeConfig{CAFile: "a"}, nil},
		{"scrape side without a key", authn.ScrapeConfig{CertFile: "a"}, []string{"SALLYPORT_SCRAPE_TLS_KEY_FILE: "}},
		{"scrape side without a certificate", authn.ScrapeConfig{KeyFile: "a"}, []string{"SALLYPORT_SCRAPE_TLS_CERT_FILE: "}},
	} {
		err := test.cfg.Validate()
		if len(test.says) == 0 && err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		for _, want := range test.says {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want it to say %q", test.name, err, want)
			}
		}
	}
	for _, make := range []func(authn.Config) error{
		func(cfg authn.Config) error { _, err := authn.NewFiles(cfg, authn.Client, discard()); return err },
		func(cfg authn.Config) error { _, err := authn.NewWorkloadAPI(cfg, authn.Client, discard()); return err },
		func(cfg authn.Config) error { _, err := authn.NewSource(cfg, authn.Client, discard()); return err },
	} {
		if make(authn.Config{}) == nil {
			t.Error("a source without a configuration")
		}
	}
	if _, err := authn.NewFiles(authn.Config{Socket: "unix:///a"}, authn.Client, discard()); err == nil {
		t.Error("files from a socket")
	}
	if _, err := authn.NewWorkloadAPI(all, authn.Client, discard()); err == nil {
		t.Error("a Workload API from files")
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	var cfg struct {
		authn.AgentConfig
		Scrape authn.ScrapeConfig
	}
	err := env.ParseWithOptions(&cfg, env.Options{Environment: map[string]string{
		"TLS_CERT_FILE":        "/cert.pem",
		"TLS_KEY_FILE":         "/key.pem",
		"TLS_CA_FILE":          "/ca.pem",
		"FEDERATED_CA_FILES":   "partner.example=/p=1.pem, other.example=/o.pem",
		"TRUST_DOMAINS":        "example.org, partner.example",
		"SPIFFE_ID":            nodeID,
		"PROXY_ID":             prxyID,
		"SCRAPE_TLS_CERT_FILE": "/scrape.pem",
		"TLS_CRL_FILES":        "/a.crl,/b.crl",
		"TLS_REQUIRE_PQ":       "true",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.CertFile != "/cert.pem" || cfg.KeyFile != "/key.pem" || cfg.CAFile != "/ca.pem" || cfg.ProxyID.String() != prxyID || cfg.SPIFFEID.String() != nodeID {
		t.Errorf("%+v", cfg)
	}
	if len(cfg.TrustDomains) != 2 || cfg.TrustDomains[1].Name() != "partner.example" {
		t.Errorf("trust domains are %v", cfg.TrustDomains)
	}
	if len(cfg.FederatedCAFiles) != 2 || cfg.FederatedCAFiles[0].File != "/p=1.pem" || cfg.FederatedCAFiles[1].TrustDomain.Name() != "other.example" {
		t.Errorf("federated files are %v", cfg.FederatedCAFiles)
	}
	if len(cfg.CRLFiles) != 2 || cfg.CRLFiles[1] != "/b.crl" || !cfg.RequirePQ || cfg.JWTBundles || cfg.AllowDemoCA {
		t.Errorf("%+v", cfg)
	}
	if cfg.Scrape.CertFile != "/scrape.pem" || cfg.Scrape.IsZero() || !(authn.ScrapeConfig{}).IsZero() {
		t.Errorf("scrape side is %v", cfg.Scrape)
	}
}

func TestListsFromText(t *testing.T) {
	for text, ok := range map[string]bool{
		"example.org":                  true,
		"a,b , c":                      true,
		"":                             false,
		"a,":                           false,
		"a,,b":                         false,
		"spiffe://example.org":         false,
		"spiffe://example.org/a":       false,
		"Example.org":                  false,
		"a b":                          false,
		strings.Repeat("d", 255):       true,
		strings.Repeat("d", 256):       false,
		"example.org/a":                false,
		"example.org:443":              false,
		"example.org\nexample.com":     false,
		"example.org=/partner.pem":     false,
		"example.org,example.org":      true,
		"xn--bcher-kva.example,_a.b-c": true,
	} {
		var domains authn.TrustDomains
		if err := domains.UnmarshalText([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, ok := range map[string]bool{
		"a=/a.pem":          true,
		"a=/a.pem,b=/b.pem": true,
		"a=/a.pem,a=/b.pem": false,
		"a=":                false,
		"=/a.pem":           false,
		"/a.pem":            false,
		"":                  false,
		"a=/a.pem,":         false,
		"spiffe://a=/a.pem": false,
	} {
		var files authn.FederatedFiles
		if err := files.UnmarshalText([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, pki.CAConfig{TrustDomain: domain}), newCA(t, pki.CAConfig{TrustDomain: domain})
	leaf := agentLeaf(t, ca)
	described := material(t, files(t, authn.Client, leaf, ca, other)).Describe(authn.Client)
	if described.ID != nodeID || !described.NotAfter.Equal(leaf.Certificate().NotAfter) || described.TrustDomain != domain || described.Unproved != "" {
		t.Errorf("%+v", described)
	}
	if len(described.Anchors) != 1 || described.Anchors[0].TrustDomain != domain || described.Anchors[0].Count != 2 {
		t.Errorf("%+v", described.Anchors)
	}
	text := described.String()
	for _, want := range []string{nodeID, "anchors 2", leaf.Certificate().NotAfter.UTC().Format("2006-01-02T15:04:05Z")} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if text := material(t, files(t, authn.Client, leaf, other)).Describe(authn.Client).String(); !strings.Contains(text, "unknown authority") {
		t.Errorf("under another CA: %s", text)
	}
	several := issue(t, ca, pki.Request{Role: pki.Proxy, DNSNames: []string{"a.example", "b.example"}, IPs: []net.IP{net.IPv4(10, 0, 0, 1)}})
	described = material(t, files(t, authn.Server, several, ca)).Describe(authn.Server)
	if described.ID != "a.example, b.example, 10.0.0.1" || described.Unproved != "" || !strings.Contains(described.String(), "DNS names: anchors 1") {
		t.Errorf("several names: %+v", described)
	}
	if described := material(t, files(t, authn.Server, several, other)).Describe(authn.Server); described.Unproved == "" {
		t.Errorf("several names under another CA: %+v", described)
	}
}
