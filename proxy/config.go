package proxy

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
)

// ClientAuth says what the scrape listener asks of a scraper.
type ClientAuth string

// What SALLYPORT_SCRAPE_CLIENT_AUTH may be.
const (
	// ClientAuthRequire ends the handshake of a scraper without a certificate.
	ClientAuthRequire ClientAuth = "require"
	// ClientAuthOptional lets the handshake pass without one. A JWT-SVID as bearer
	// token then stands in; with neither the answer is 401.
	ClientAuthOptional ClientAuth = "optional"
	// ClientAuthNone asks for no certificate: every scraper is anonymous, and
	// what an anonymous scraper may read is the policy's to say.
	ClientAuthNone ClientAuth = "none"
)

// TLS is what the listener for scrapers must ask of its clients.
func (a ClientAuth) TLS() authn.ClientAuth {
	switch a {
	case ClientAuthNone:
		return authn.NoClient
	case ClientAuthOptional:
		return authn.OptionalClient
	default:
		return authn.RequireClient
	}
}

// Config bounds what agents and scrapers may ask of the proxy. The addresses
// stand here because they belong to its configuration; whoever calls Run opens
// the listeners.
type Config struct {
	TunnelAddr string     `env:"TUNNEL_ADDR" envDefault:":50051" help:"agents connect here: gRPC over mutual TLS 1.3"`
	ScrapeAddr string     `env:"SCRAPE_ADDR" envDefault:":8443" help:"Prometheus connects here: HTTPS"`
	ClientAuth ClientAuth `env:"SCRAPE_CLIENT_AUTH" envDefault:"require" help:"client certificate from scrapers: require, optional (a bearer token may stand in for one; 401 with neither) or none (every scraper is anonymous; the policy decides)"`
	ScrapeURL  string     `env:"SCRAPE_URL" default:"from the address" help:"the URL under which Prometheus reaches the proxy, https://host:port, and the audience of its bearer tokens; the address where it names no host gets the name of the machine"`

	MaxResponse      int64         `env:"MAX_RESPONSE_BYTES" envDefault:"64MiB" unit:"bytes" help:"the largest scrape body, as sent by the target"`
	MaxScrapeTimeout time.Duration `env:"MAX_SCRAPE_TIMEOUT" envDefault:"2m" help:"the longest a scrape may take, whatever the scraper asks for"`

	MaxSessions            int `env:"MAX_SESSIONS" envDefault:"20000" help:"sessions at most"`
	MaxSessionsPerIdentity int `env:"MAX_SESSIONS_PER_IDENTITY" envDefault:"16" help:"sessions of one agent identity at most: its replicas share it, and each has two while it rotates"`
	MaxRoutesPerSession    int `env:"MAX_ROUTES_PER_SESSION" envDefault:"5000" help:"routes of one session at most"`

	Warmup    time.Duration `env:"DISCOVERY_WARMUP" envDefault:"30s" help:"how long discovery answers 503 after a start, so that Prometheus keeps its targets until agents are back; 0s: not at all"`
	Retention time.Duration `env:"DISCOVERY_RETENTION" envDefault:"1h" help:"how long a route whose agent is gone stays listed, and its scrapes answer 503 instead of 404, so that up == 0 fires instead of the target vanishing"`
}

// Validate reports every fault at once, each naming its variable.
func (c Config) Validate() error {
	var faults []error
	fault := func(name, format string, args ...any) {
		faults = append(faults, fmt.Errorf("SALLYPORT_"+name+": "+format, args...))
	}
	switch c.ClientAuth {
	case ClientAuthRequire, ClientAuthOptional, ClientAuthNone:
	default:
		fault("SCRAPE_CLIENT_AUTH", "%.32q is none of require, optional, none", c.ClientAuth)
	}
	if c.ScrapeURL != "" {
		if err := checkScrapeURL(c.ScrapeURL); err != nil {
			fault("SCRAPE_URL", "%w", err) // it may hold a password
		}
	}
	for _, limit := range []struct {
		name     string
		value    int64
		min, max int64
	}{
		{"MAX_RESPONSE_BYTES", c.MaxResponse, 1, 1 << 40},
		{"MAX_SESSIONS", int64(c.MaxSessions), 1, 1 << 20},
		{"MAX_SESSIONS_PER_IDENTITY", int64(c.MaxSessionsPerIdentity), 1, 1 << 20},
		{"MAX_ROUTES_PER_SESSION", int64(c.MaxRoutesPerSession), 1, 1 << 20},
	} {
		if limit.value < limit.min || limit.value > limit.max {
			fault(limit.name, "%d is not from %d to %d", limit.value, limit.min, limit.max)
		}
	}
	if c.MaxScrapeTimeout < time.Second || c.MaxScrapeTimeout > time.Hour {
		fault("MAX_SCRAPE_TIMEOUT", "%s is not from 1s to 1h", c.MaxScrapeTimeout)
	}
	if c.Warmup < 0 || c.Warmup > time.Hour {
		fault("DISCOVERY_WARMUP", "%s is not from 0s to 1h", c.Warmup)
	}
	if c.Retention < 0 || c.Retention > 30*24*time.Hour {
		fault("DISCOVERY_RETENTION", "%s is not from 0s to 720h", c.Retention)
	}
	return errors.Join(faults...)
}

// Bounds that no operator has a reason to move.
const (
	// maxLanes is how many lanes one session may have, whatever its agent offers.
	maxLanes = 256
	// maxMessage bounds a message of either direction. A body chunk is 31 KiB;
	// a batch of routes is at most 48 KiB.
	maxMessage = 64 << 10
	// maxWaiting is how many scrapes may wait for a lane of one session.
	maxWaiting = 1024
	// maxOutbox is how many control messages an agent may leave unread.
	maxOutbox = 1024
	// maxOutboxBytes is how much of them, in bytes: some answers are long.
	maxOutboxBytes = 1 << 20
	// helloTimeout is how long a connection may be without its Hello.
	helloTimeout = 10 * time.Second
	// goodbyeGrace is how long an agent has to read why its session ends.
	goodbyeGrace = time.Second
	// cancelGrace is how long an agent has to answer a cancel.
	cancelGrace = time.Second
	// drainTimeout is how long scrapes in flight may take after a stop; it is
	// below the 30 s that Kubernetes waits before it kills.
	drainTimeout = 20 * time.Second
	// bodyTimeout is how long a scraper may take to send the body that no scrape
	// should have.
	bodyTimeout = time.Second
	// stallTimeout is how long a scraper may take to accept one chunk.
	stallTimeout = 30 * time.Second
)
