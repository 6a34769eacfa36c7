// Package handshakes counts a proxy's TLS handshakes, and tells of those that failed: who
// cannot connect has no other way to be seen. Commands that run a proxy import it.
package handshakes

import (
	"context"
	"errors"
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

// Book counts handshakes, and tells of those that failed: of some in the log
// and on the dashboard.
type Book struct {
	successes, failures *prometheus.CounterVec
	strangers           *strangers
	log                 *slog.Logger
}

// hints tell an operator what to do about a peer that cannot connect.
var hints = map[authn.Reason]string{
	authn.NoCertificate:     "a scraper has to show one: its scrape job needs cert_file and key_file in tls_config",
	authn.UnknownAuthority:  "another CA signed the peer's certificate, or none of its trust domain: compare SALLYPORT_TLS_CA_FILE, SALLYPORT_SCRAPE_TLS_CA_FILE or the trust bundle",
	authn.UntrustedDomain:   "SALLYPORT_TRUST_DOMAINS does not name the peer's trust domain",
	authn.Expired:           "the peer's certificate has ended: renew it on the peer's machine",
	authn.NotYetValid:       "the peer's certificate is not valid yet: compare the clocks",
	authn.WrongPurpose:      "the peer's certificate is not one for a client",
	authn.BadIdentity:       "the peer's certificate needs exactly one SPIFFE ID, or one DNS name",
	authn.Revoked:           "a CRL lists the peer's certificate: issue another, with a new key",
	authn.RevocationUnknown: "put a current CRL into SALLYPORT_TLS_CRL_FILES",
	authn.ClassicalGroup:    "SALLYPORT_TLS_REQUIRE_PQ is set, and the peer offers no post-quantum key exchange",
	authn.NoMaterial:        "the proxy has no valid certificate: renew SALLYPORT_TLS_CERT_FILE, or see that the Workload API gives one",
	authn.PlainHTTP:         "it speaks HTTP without TLS: a scrape job needs scheme: https",
	authn.DemoAuthority:     "the demo's CA is for the demo only",
}

// hint tells what to do about a failure on a listener.
func hint(listener string, reason authn.Reason) string {
	switch {
	case reason == authn.Rejected && listener == "tunnel":
		return "the agent refuses the proxy's certificate: compare its SALLYPORT_PROXY_ID, or the name that it dials, and its SALLYPORT_TLS_CA_FILE with the certificate; its own log says which"
	case reason == authn.Rejected:
		return "the client refuses the proxy's certificate: compare its ca_file, and the host that it asks (see SALLYPORT_SCRAPE_URL), with the certificate's authority and names"
	}
	return hints[reason]
}

// New makes a book whose metrics are in the registry.
func New(registry prometheus.Registerer, log *slog.Logger) *Book {
	h := &Book{
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

// Hear completes what a listener of that name is told to do.
func (h *Book) Hear(listener string, cfg authn.ListenConfig) authn.ListenConfig {
	// From the start, so that an alert sees the first one as an increase.
	for _, reason := range []authn.Reason{authn.NoCertificate, authn.UnknownAuthority, authn.Expired} {
		h.failures.WithLabelValues(listener, string(reason))
	}
	cfg.Failed, cfg.Succeeded = h.failed(listener), h.successes.WithLabelValues(listener).Inc
	return cfg
}

// failed returns what a listener calls for each failure, from any goroutine.
func (h *Book) failed(listener string) func(net.Addr, error) {
	var (
		mu      sync.Mutex
		second  time.Time
		logged  int
		skipped int
	)
	return func(remote net.Addr, err error) {
		reason := authn.ReasonOf(err)
		h.failures.WithLabelValues(listener, string(reason)).Inc()

		level, kind := slog.LevelWarn, (*stranger)(nil)
		switch reason {
		case authn.Disconnected, authn.Protocol, authn.Timeout:
			level = slog.LevelDebug // port scans, and load balancers that only connect
		default:
			if kind = h.strangers.note(listener, remote, reason, err); !h.strangers.due(kind) {
				return
			}
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
		var failed *authn.Error
		if errors.As(err, &failed) && failed.Claim != "" {
			attrs = append(attrs, "claims", failed.Claim, "claim_ends", failed.ClaimEnds)
		}
		if kind != nil {
			if untold := h.strangers.tell(kind); untold > 0 {
				attrs = append(attrs, "times_since_last_said", untold)
			}
		}
		if text := hint(listener, reason); text != "" {
			attrs = append(attrs, "hint", text)
		}
		if missed > 0 {
			attrs = append(attrs, "not_logged_before", missed)
		}
		h.log.Log(context.Background(), level, "handshake failed", attrs...)
	}
}
