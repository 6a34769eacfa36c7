package main

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authn"
)

// maxLoggedHandshakes is how many failed handshakes of one listener are logged
// in a second. Strangers cause them, so strangers would fill the disk.
const maxLoggedHandshakes = 5

// handshakes counts handshakes, and tells of those that failed: of some in the log
// and on the dashboard.
type handshakes struct {
	successes, failures *prometheus.CounterVec
	strangers           *strangers
	log                 *slog.Logger
}

// handshakeHints tell an operator what to do about a peer that cannot connect.
var handshakeHints = map[authn.Reason]string{
	authn.NoCertificate:     "it has to show one: a scrape job needs cert_file and key_file in its tls_config",
	authn.UnknownAuthority:  "another CA signed its certificate, or none of its trust domain: compare SALLYPORT_TLS_CA_FILE, SALLYPORT_SCRAPE_TLS_CA_FILE or the trust bundle",
	authn.UntrustedDomain:   "SALLYPORT_TRUST_DOMAINS does not name its trust domain",
	authn.Expired:           "its certificate has ended: renew it there",
	authn.NotYetValid:       "its certificate is not valid yet: compare the clocks",
	authn.WrongPurpose:      "its certificate is not one for a client",
	authn.BadIdentity:       "its certificate needs exactly one SPIFFE ID, or one DNS name",
	authn.Revoked:           "a CRL lists its certificate: issue another, with a new key",
	authn.RevocationUnknown: "put a current CRL into SALLYPORT_TLS_CRL_FILES",
	authn.ClassicalGroup:    "SALLYPORT_TLS_REQUIRE_PQ is set, and it offers no post-quantum key exchange",
	authn.Rejected:          "it refuses our certificate: compare its CA, and the name or ID that it expects, with ours",
	authn.NoMaterial:        "we have no valid certificate: renew SALLYPORT_TLS_CERT_FILE, or see that the Workload API gives one",
	authn.DemoAuthority:     "the demo's CA is for the demo only",
}

func newHandshakes(registry prometheus.Registerer, log *slog.Logger) *handshakes {
	h := &handshakes{
		successes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_proxy_handshakes_total",
			Help: "TLS handshakes that succeeded, by listener.",
		}, []string{"listener"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_proxy_handshake_failures_total",
			Help: "TLS handshakes that failed, by listener and reason.",
		}, []string{"listener", "reason"}),
		strangers: newStrangers(),
		log:       log,
	}
	registry.MustRegister(h.successes, h.failures)
	return h
}

// hear completes what a listener of that name is told to do.
func (h *handshakes) hear(listener string, cfg authn.ListenConfig) authn.ListenConfig {
	// From the start, so that an alert sees the first one as an increase.
	for _, reason := range []authn.Reason{authn.NoCertificate, authn.UnknownAuthority, authn.Expired} {
		h.failures.WithLabelValues(listener, string(reason))
	}
	cfg.Failed, cfg.Succeeded = h.failed(listener), h.successes.WithLabelValues(listener).Inc
	return cfg
}

// failed returns what a listener calls for each failure, from any goroutine.
func (h *handshakes) failed(listener string) func(net.Addr, error) {
	var (
		mu      sync.Mutex
		second  time.Time
		logged  int
		skipped int
	)
	return func(remote net.Addr, err error) {
		reason := authn.ReasonOf(err)
		h.failures.WithLabelValues(listener, string(reason)).Inc()

		level := slog.LevelWarn
		switch reason {
		case authn.Disconnected, authn.Protocol, authn.Timeout:
			level = slog.LevelDebug // port scans, and load balancers that ask whether we live
		default:
			h.strangers.note(listener, remote, reason, err)
		}
		if !h.log.Enabled(context.Background(), level) {
			return // and takes no place of one that is logged
		}
		mu.Lock()
		if now := time.Now(); now.Sub(second) >= time.Second {
			second, logged = now, 0
		}
		logged++
		mute := logged > maxLoggedHandshakes
		missed := skipped
		if mute {
			skipped++
		} else {
			skipped = 0
		}
		mu.Unlock()
		if mute {
			return
		}
		attrs := []any{"listener", listener, "remote", remote.String(), "reason", string(reason), "error", err}
		if hint := handshakeHints[reason]; hint != "" {
			attrs = append(attrs, "hint", hint)
		}
		if missed > 0 {
			attrs = append(attrs, "not_logged_before", missed)
		}
		h.log.Log(context.Background(), level, "handshake failed", attrs...)
	}
}
