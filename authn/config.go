package authn

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// Config says where a daemon's own key pair and its trust anchors come from:
// three files, or the Workload API. One of the two, never both.
type Config struct {
	CertFile         string         `env:"TLS_CERT_FILE" help:"files mode: our certificate chain, PEM, leaf first"`
	KeyFile          string         `env:"TLS_KEY_FILE" help:"files mode: the key of the certificate, PEM, readable by its owner (or group) only"`
	CAFile           string         `env:"TLS_CA_FILE" help:"files mode: the trust anchors of our own trust domain, PEM"`
	FederatedCAFiles FederatedFiles `env:"FEDERATED_CA_FILES" help:"files mode: trust-domain=file,…: anchors of other trust domains, each valid for its own domain only"`
	CRLFiles         []string       `env:"TLS_CRL_FILES" help:"files mode: certificate revocation lists, comma-separated, PEM or DER; what they revoke is refused and cut, and one that is out of date lets nobody of its authority in"`
	// Socket keeps its standard name, without our prefix.
	Socket       string       `env:"SPIFFE_ENDPOINT_SOCKET" noprefix:"true" help:"SPIFFE mode: the address of the Workload API, such as unix:///run/spire/agent.sock; excludes the files"`
	SPIFFEID     spiffeid.ID  `env:"SPIFFE_ID" help:"SPIFFE mode: which SVID to use where the Workload API gives several"`
	TrustDomains TrustDomains `env:"TRUST_DOMAINS" default:"our own" help:"trust domains accepted from peers, comma-separated"`
	RequirePQ    bool         `env:"TLS_REQUIRE_PQ" envDefault:"false" help:"refuse every key exchange that is not post-quantum, on the tunnel and on the scrape side"`

	// JWTBundles has the Workload API asked for the keys of JWT-SVIDs too, see
	// NewTokens. It follows from what a daemon serves.
	JWTBundles bool `env:"-"`
	// AllowDemoCA lets the demo use its own CA. No variable sets it.
	AllowDemoCA bool `env:"-"`
}

// AgentConfig is an agent's: it also names the proxy to expect.
type AgentConfig struct {
	Config
	ProxyID spiffeid.ID `env:"PROXY_ID" help:"the SPIFFE ID that the proxy must prove; required in SPIFFE mode. In files mode without it the proxy's DNS name is verified"`
}

// ScrapeConfig gives the scrape side files of its own. What is empty is the
// tunnel's.
type ScrapeConfig struct {
	CertFile string `env:"SCRAPE_TLS_CERT_FILE" default:"the tunnel's" help:"certificate chain of the scrape side, where Prometheus wants a DNS name"`
	KeyFile  string `env:"SCRAPE_TLS_KEY_FILE" default:"the tunnel's" help:"its key"`
	CAFile   string `env:"SCRAPE_TLS_CA_FILE" default:"the tunnel's" help:"trust anchors for scrapers"`
}

// Validate reports every fault at once, each naming its variable. It reads no file.
func (c Config) Validate() error {
	var faults []error
	fault := func(name, format string, args ...any) {
		faults = append(faults, fmt.Errorf(name+": "+format, args...))
	}
	files := []struct{ name, value string }{
		{"SALLYPORT_TLS_CERT_FILE", c.CertFile}, {"SALLYPORT_TLS_KEY_FILE", c.KeyFile}, {"SALLYPORT_TLS_CA_FILE", c.CAFile},
	}
	var set, missing []string
	for _, file := range files {
		faults = append(faults, checkPath(file.name, file.value))
		if file.value != "" {
			set = append(set, file.name)
		} else {
			missing = append(missing, file.name)
		}
	}
	for _, file := range c.FederatedCAFiles {
		faults = append(faults, checkPath("SALLYPORT_FEDERATED_CA_FILES", file.File))
	}
	if len(c.FederatedCAFiles) > 0 {
		set = append(set, "SALLYPORT_FEDERATED_CA_FILES")
	}
	for _, file := range c.CRLFiles {
		if file == "" {
			fault("SALLYPORT_TLS_CRL_FILES", "names an empty path")
		}
		faults = append(faults, checkPath("SALLYPORT_TLS_CRL_FILES", file))
	}
	if len(c.CRLFiles) > 0 {
		set = append(set, "SALLYPORT_TLS_CRL_FILES")
	}
	switch {
	case c.Socket != "":
		if len(set) > 0 {
			fault("SPIFFE_ENDPOINT_SOCKET", "is set, and so is %s: choose the Workload API or files", strings.Join(set, ", "))
		}
		if err := workloadapi.ValidateAddress(c.Socket); err != nil {
			fault("SPIFFE_ENDPOINT_SOCKET", "%v", err)
		} else if remote(c.Socket) {
			fault("SPIFFE_ENDPOINT_SOCKET", "is on another machine, and the Workload API gives out keys in the clear: want a unix socket, or tcp on a loopback address")
		}
	case len(set) == 0:
		fault("SALLYPORT_TLS_CERT_FILE", "no identity: set it with SALLYPORT_TLS_KEY_FILE and SALLYPORT_TLS_CA_FILE, or set SPIFFE_ENDPOINT_SOCKET")
	default:
		for _, name := range missing {
			fault(name, "is not set, but %s is", strings.Join(set, ", "))
		}
	}
	if !c.SPIFFEID.IsZero() {
		if _, err := SPIFFEIdentity(c.SPIFFEID); err != nil {
			fault("SALLYPORT_SPIFFE_ID", "%v", err)
		}
		if c.Socket == "" {
			fault("SALLYPORT_SPIFFE_ID", "chooses among SVIDs of the Workload API, but SPIFFE_ENDPOINT_SOCKET is not set")
		}
	}
	return errors.Join(faults...)
}

// remote tells whether a valid address leads out of this machine.
func remote(socket string) bool {
	address, err := url.Parse(socket)
	if err != nil || address.Scheme != "tcp" {
		return err != nil
	}
	ip := net.ParseIP(address.Hostname())
	return ip == nil || !ip.IsLoopback()
}

// Validate reports every fault at once, each naming its variable.
func (c AgentConfig) Validate() error {
	faults := []error{c.Config.Validate()}
	switch {
	case !c.ProxyID.IsZero():
		if _, err := SPIFFEIdentity(c.ProxyID); err != nil {
			faults = append(faults, fmt.Errorf("SALLYPORT_PROXY_ID: %w", err))
		}
	case c.Socket != "":
		faults = append(faults, errors.New("SALLYPORT_PROXY_ID: is required with SPIFFE_ENDPOINT_SOCKET"))
	}
	return errors.Join(faults...)
}

// Validate reports a certificate without its key, or the reverse, and whatever is
// no path. It reads no file.
func (c ScrapeConfig) Validate() error {
	faults := []error{
		checkPath("SALLYPORT_SCRAPE_TLS_CERT_FILE", c.CertFile),
		checkPath("SALLYPORT_SCRAPE_TLS_KEY_FILE", c.KeyFile),
		checkPath("SALLYPORT_SCRAPE_TLS_CA_FILE", c.CAFile),
	}
	switch {
	case c.CertFile != "" && c.KeyFile == "":
		faults = append(faults, errors.New("SALLYPORT_SCRAPE_TLS_KEY_FILE: is not set, but SALLYPORT_SCRAPE_TLS_CERT_FILE is"))
	case c.CertFile == "" && c.KeyFile != "":
		faults = append(faults, errors.New("SALLYPORT_SCRAPE_TLS_CERT_FILE: is not set, but SALLYPORT_SCRAPE_TLS_KEY_FILE is"))
	}
	return errors.Join(faults...)
}

// checkPath refuses what was meant to stand in a file. An error of opening it would
// quote it, and it may be a key.
func checkPath(variable, path string) error {
	if strings.Contains(path, "-----BEGIN") || strings.ContainsAny(path, "\r\n") {
		return errors.New(variable + ": holds what looks like the content of a file (not shown): want its path")
	}
	return nil
}

// IsZero reports that the scrape side has nothing of its own.
func (c ScrapeConfig) IsZero() bool { return c == ScrapeConfig{} }

// NewSource makes the source that the configuration asks for. It validates it,
// and in files mode reads the files once. The role is our own on the tunnel.
func NewSource(cfg Config, role Role, log *slog.Logger) (Keeper, error) {
	if cfg.Socket != "" {
		return NewWorkloadAPI(cfg, role, log)
	}
	return NewFiles(cfg, role, log)
}

// TrustDomains are names of trust domains.
type TrustDomains []spiffeid.TrustDomain

// UnmarshalText reads "example.org,partner.example".
func (t *TrustDomains) UnmarshalText(text []byte) error {
	var domains TrustDomains
	for name := range strings.SplitSeq(string(text), ",") {
		domain, err := parseTrustDomain(strings.TrimSpace(name))
		if err != nil {
			return err
		}
		domains = append(domains, domain)
	}
	*t = domains
	return nil
}

// parseTrustDomain takes a name only. The library's own parser takes any SPIFFE
// ID and keeps its trust domain, which would hide a mistake.
func parseTrustDomain(name string) (spiffeid.TrustDomain, error) {
	if strings.Contains(name, ":") || len(name) > maxTrustDomain {
		return spiffeid.TrustDomain{}, fmt.Errorf("%.64q is no name of a trust domain", name)
	}
	domain, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return spiffeid.TrustDomain{}, fmt.Errorf("%.64q is no name of a trust domain: %w", name, err)
	}
	return domain, nil
}

// FederatedFile holds the anchors of one other trust domain.
type FederatedFile struct {
	TrustDomain spiffeid.TrustDomain
	File        string
}

// FederatedFiles are those of all other trust domains, one file each.
type FederatedFiles []FederatedFile

// UnmarshalText reads "partner.example=/etc/partner.pem,…".
func (f *FederatedFiles) UnmarshalText(text []byte) error {
	var files FederatedFiles
	seen := make(map[spiffeid.TrustDomain]bool)
	for entry := range strings.SplitSeq(string(text), ",") {
		name, file, ok := strings.Cut(strings.TrimSpace(entry), "=")
		if !ok || file == "" {
			return fmt.Errorf("%.64q is not of the form trust-domain=file", entry)
		}
		domain, err := parseTrustDomain(name)
		if err != nil {
			return err
		}
		if seen[domain] {
			return fmt.Errorf("trust domain %q has two files", name)
		}
		seen[domain] = true
		files = append(files, FederatedFile{TrustDomain: domain, File: file})
	}
	*f = files
	return nil
}

// Renewal tells an operator what to do about a certificate that ends and has no
// successor.
func (c Config) Renewal() string {
	if c.Socket != "" {
		return "see that the Workload API gives a new SVID: is our entry still registered, and is the SPIRE agent in touch with its server?"
	}
	return "renew the files of SALLYPORT_TLS_CERT_FILE and SALLYPORT_TLS_KEY_FILE"
}

// Renewal is Config's for the scrape side.
func (c ScrapeConfig) Renewal() string {
	return "renew the files of SALLYPORT_SCRAPE_TLS_CERT_FILE and SALLYPORT_SCRAPE_TLS_KEY_FILE"
}
