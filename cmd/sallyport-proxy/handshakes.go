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

// handshakes tells of handshakes that failed: all in a metric, some in the log and
// on the dashboard.
type handshakes struct {
	failures  *prometheus.CounterVec
	strangers *strangers
	log       *slog.Logger
}

func newHandshakes(registry prometheus.Registerer, log *slog.Logger) *handshakes {
	h := &handshakes{
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_proxy_handshake_failures_total",
			Help: "TLS handshakes that failed, by listener and reason.",
		}, []string{"listener", "reason"}),
		strangers: newStrangers(),
		log:       log,
	}
	registry.MustRegister(h.failures)
	// From the start, so that an alert sees the first one as an increase.
	for _, listener := range []string{"tunnel", "scrape"} {
		for _, reason := range []authn.Reason{authn.NoCertificate, authn.UnknownAuthority, authn.Expired} {
			h.failures.WithLabelValues(listener, string(reason))
		}
	}
	return h
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
		if missed > 0 {
			attrs = append(attrs, "not_logged_before", missed)
		}
		h.log.Log(context.Background(), level, "handshake failed", attrs...)
	}
}
