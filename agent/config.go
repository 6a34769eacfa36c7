package agent

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// What a Config holds where the operator says nothing.
const (
	DefaultMaxConcurrentScrapes = 64
	DefaultMaxResponseBytes     = 64 << 20
	DefaultDrainTimeout         = 15 * time.Second
)

// Bounds on what may be configured. They are far above any real use and keep a
// slip of the keyboard from asking for terabytes or a million goroutines.
const (
	maxProxyAddrs        = 64
	maxNameBytes         = 255
	maxConcurrentScrapes = 1024
	maxTargets           = 10_000
	maxResponseBytes     = 1 << 40
)

// Config is what an operator says about an agent. Who the agent is, and which
// proxy it expects, is not in here: both are in the transport credentials.
//
// The env tags name variables without their prefix SALLYPORT_; only commands
// parse them. A field tagged unit:"bytes" is written with a unit, as in 64MiB.
type Config struct {
	ProxyAddrs           []string `env:"PROXY_ADDRS,required" help:"proxies to connect to, host:port separated by commas; a session to each, all at once"`
	Name                 string   `env:"AGENT_NAME" default:"host name" help:"name to display at the proxy, never trusted"`
	Targets              Targets  `env:"TARGETS" help:"targets as path=url, separated by commas or newlines; the first = splits; self as url: the agent's own metrics"`
	TargetsFile          string   `env:"TARGETS_FILE" help:"YAML file of targets (path, url, labels, params, tls, basic_auth, authorization), followed when it changes"`
	MaxConcurrentScrapes int      `env:"MAX_CONCURRENT_SCRAPES" envDefault:"64" help:"lanes at most, per session"`
	MaxResponseBytes     int64    `env:"MAX_RESPONSE_BYTES" envDefault:"64MiB" unit:"bytes" help:"the largest scrape body, as sent by the target"`

	// Software is the release to report to proxies, for display. At most 64 bytes.
	Software string
	// DrainTimeout bounds how long scrapes in flight may go on after Run's
	// context has ended. Zero means DefaultDrainTimeout.
	DrainTimeout time.Duration
}

// Validate reports every fault at once, naming the variable. It reads no file:
// New does.
func (c Config) Validate() error {
	var faults []error
	fault := func(variable, format string, args ...any) {
		faults = append(faults, fmt.Errorf("SALLYPORT_"+variable+": "+format, args...))
	}
	switch n := len(c.ProxyAddrs); {
	case n == 0:
		fault("PROXY_ADDRS", "no address, want host:port")
	case n > maxProxyAddrs:
		fault("PROXY_ADDRS", "%d addresses, at most %d", n, maxProxyAddrs)
	}
	seen := make(map[string]bool, len(c.ProxyAddrs))
	for _, addr := range c.ProxyAddrs {
		if err := checkAddr(addr); err != nil {
			fault("PROXY_ADDRS", "%q: %v", addr, err)
		} else if seen[addr] {
			fault("PROXY_ADDRS", "%q: given twice", addr)
		}
		seen[addr] = true
	}
	if !printable(c.Name) || len(c.Name) > maxNameBytes {
		fault("AGENT_NAME", "not a printable text of at most %d bytes", maxNameBytes)
	}
	if len(c.Targets) == 0 && c.TargetsFile == "" {
		fault("TARGETS", "no target: set this or SALLYPORT_TARGETS_FILE")
	}
	faults = append(faults, prefixed("SALLYPORT_TARGETS: ", c.Targets.Validate()))
	if n := c.MaxConcurrentScrapes; n < 1 || n > maxConcurrentScrapes {
		fault("MAX_CONCURRENT_SCRAPES", "%d is not between 1 and %d", n, maxConcurrentScrapes)
	}
	if n := c.MaxResponseBytes; n < 1 || n > maxResponseBytes {
		fault("MAX_RESPONSE_BYTES", "%d is not between 1 byte and 1 TiB", n)
	}
	if !printable(c.Software) || len(c.Software) > 64 {
		faults = append(faults, errors.New("software is not a printable text of at most 64 bytes"))
	}
	if c.DrainTimeout < 0 {
		faults = append(faults, errors.New("drain timeout is negative"))
	}
	return errors.Join(faults...)
}

// checkAddr wants host:port with a host, so that there is a name or an address
// to verify the proxy's certificate against.
func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("not host:port")
	}
	if host == "" {
		return errors.New("no host")
	}
	if !graphic(host) {
		return errors.New("the host has characters that no host has")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("the port is not a number from 1 to 65535")
	}
	return nil
}

// unjoin takes apart what errors.Join put together.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// prefixed puts prefix before each of the faults joined in err.
func prefixed(prefix string, err error) error {
	var faults []error
	for _, err := range unjoin(err) {
		faults = append(faults, fmt.Errorf("%s%w", prefix, err))
	}
	return errors.Join(faults...)
}
