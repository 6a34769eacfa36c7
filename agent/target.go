package agent

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// Bounds on one target, so that a route with everything on it fits into one
// message to the proxy.
const (
	maxURLBytes   = 2048
	maxParams     = 64
	maxParamBytes = 128
)

// Target is an HTTP endpoint to offer under a path of the proxy. The URL and
// the credentials never leave the agent; scheme, host, port and path of the URL
// are told to the proxy's policy.
type Target struct {
	// Path is the route, as "/team-a/node".
	Path string `yaml:"path"`
	// URL is http or https, without user information and fragment. A query in it
	// is sent with every scrape. A comma must be written %2C in SALLYPORT_TARGETS.
	// "self" stands for the agent's own metrics.
	URL string `yaml:"url"`
	// Labels are the agent's claim, shown by the proxy's discovery.
	Labels map[string]string `yaml:"labels"`
	// Params names the query parameters that a scraper may give. None by default.
	Params []string `yaml:"params"`
	// TLS says how to verify an https target other than by the system's roots.
	TLS *TargetTLS `yaml:"tls"`
	// BasicAuth and Authorization are what the target asks of us; one at most.
	BasicAuth     *BasicAuth     `yaml:"basic_auth"`
	Authorization *Authorization `yaml:"authorization"`

	line int // where it stands in the targets file; 0: it comes from elsewhere
}

// TargetTLS is the TLS of one https target. There is no way to skip verification.
type TargetTLS struct {
	CAFile     string `yaml:"ca_file"`     // PEM; empty: the system's roots
	CertFile   string `yaml:"cert_file"`   // PEM chain to present, with KeyFile
	KeyFile    string `yaml:"key_file"`    // PEM
	ServerName string `yaml:"server_name"` // empty: the URL's host
}

// BasicAuth sends a user name and the password that a file holds.
type BasicAuth struct {
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
}

// Authorization sends the bearer token that a file holds.
type Authorization struct {
	CredentialsFile string `yaml:"credentials_file"`
}

// fault joins all that is wrong with t but its path. It repeats no URL, where a
// careless hand may have left a password.
func (t *Target) fault() error {
	if t.isSelf() {
		return t.selfFault()
	}
	u, err := parseURL(t.URL)
	faults := unjoin(prefixed("url: ", err))
	faults = append(faults, unjoin(prefixed("labels: ", checkLabels(t.Labels)))...)
	faults = append(faults, unjoin(prefixed("params: ", checkParams(t.Params, u)))...)
	if t.TLS != nil {
		faults = append(faults, unjoin(prefixed("tls: ", t.TLS.fault(u)))...)
	}
	if b := t.BasicAuth; b != nil {
		if b.Username == "" || strings.Contains(b.Username, ":") || !printable(b.Username) {
			faults = append(faults, errors.New("basic_auth: the username is not printable without a colon"))
		}
		if b.PasswordFile == "" {
			faults = append(faults, errors.New("basic_auth: no password_file"))
		}
	}
	if a := t.Authorization; a != nil && a.CredentialsFile == "" {
		faults = append(faults, errors.New("authorization: no credentials_file"))
	}
	if t.BasicAuth != nil && t.Authorization != nil {
		faults = append(faults, errors.New("basic_auth and authorization exclude each other"))
	}
	return errors.Join(faults...)
}

// selfFault joins what is wrong with a target that is the agent itself: nothing has to
// be asked for there, or may be.
func (t *Target) selfFault() error {
	faults := unjoin(prefixed("labels: ", checkLabels(t.Labels)))
	if t.TLS != nil || t.BasicAuth != nil || t.Authorization != nil || len(t.Params) > 0 {
		faults = append(faults, errors.New("url: self takes no params, tls, basic_auth or authorization"))
	}
	return errors.Join(faults...)
}

// checkFiles reads the files that t names, for a fault in them is one of the
// configuration. It joins all faults, each naming the field.
func (t *Target) checkFiles() error {
	var faults []error
	if t.TLS != nil {
		_, err := t.TLS.load("")
		faults = unjoin(prefixed("tls: ", err))
	}
	_, err := newCredential(t).header()
	return errors.Join(append(faults, err)...)
}

func (t *TargetTLS) fault(u *url.URL) error {
	var faults []error
	if u != nil && u.Scheme != "https" {
		faults = append(faults, errors.New("the url is not https"))
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		faults = append(faults, errors.New("cert_file and key_file go together"))
	}
	if !graphic(t.ServerName) {
		faults = append(faults, errors.New("the server_name has characters that no host has"))
	}
	return errors.Join(faults...)
}

// parseURL parses a target's URL strictly: what no proxy would take as a claim is refused
// here, where it can be mended. Its errors do not quote the URL.
func parseURL(raw string) (*url.URL, error) {
	if raw == "" {
		return nil, errors.New("none given")
	}
	if len(raw) > maxURLBytes {
		return nil, fmt.Errorf("longer than %d bytes", maxURLBytes)
	}
	if !graphic(raw) {
		return nil, errors.New("has a space or a character that is not visible ASCII")
	}
	u, err := url.Parse(raw)
	if err != nil {
		// url.Error quotes the whole URL, its cause may quote a part.
		return nil, errors.New("does not parse")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("is neither http nor https, nor self")
	case u.User != nil:
		return nil, errors.New("holds a user name or a password: use basic_auth in the targets file")
	case u.Opaque != "" || u.Hostname() == "":
		return nil, errors.New("has no host")
	case !graphic(u.Hostname()):
		return nil, errors.New("has a host with characters that no host has")
	case strings.Contains(raw, "#"):
		return nil, errors.New("has a fragment")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	port, err := portOf(u)
	if err != nil {
		return nil, err
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil {
		return nil, errors.New("has a malformed query")
	}
	if err := tunnelv1.CheckTarget(claimOf(u, port)); err != nil {
		return nil, err
	}
	return u, nil
}

// portOf is u's port, the scheme's own where u has none.
func portOf(u *url.URL) (uint32, error) {
	if u.Port() == "" {
		if strings.HasSuffix(u.Host, ":") {
			return 0, errors.New("has an empty port")
		}
		if u.Scheme == "https" {
			return 443, nil
		}
		return 80, nil
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("has a port that is not a number from 1 to 65535")
	}
	return uint32(n), nil
}

func checkLabels(labels map[string]string) error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		faults = append(faults, tunnelv1.CheckLabels(map[string]string{name: labels[name]}))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	return tunnelv1.CheckLabels(labels)
}

// checkParams refuses a parameter that the target's own URL sets: a scraper
// could otherwise argue with the operator.
func checkParams(params []string, u *url.URL) error {
	var faults []error
	if len(params) > maxParams {
		faults = append(faults, fmt.Errorf("%d of them, at most %d", len(params), maxParams))
	}
	for i, name := range params {
		switch {
		case name == "" || len(name) > maxParamBytes || !printable(name):
			faults = append(faults, fmt.Errorf("number %d is not a printable name of at most %d bytes", i+1, maxParamBytes))
		case slices.Contains(params[:i], name):
			faults = append(faults, fmt.Errorf("%q is given twice", name))
		case u != nil && u.Query().Has(name):
			faults = append(faults, fmt.Errorf("%q is set by the url", name))
		}
	}
	return errors.Join(faults...)
}
