package proxy

import (
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// newScrapeServer builds the HTTP server that Prometheus connects to. What a
// scraper may hold open is bounded in time and size.
func (p *Proxy) newScrapeServer() *http.Server {
	return &http.Server{
		Handler:           scrapes{p},
		ConnContext:       authn.ConnContext,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		// The outer bound; each answer sets a nearer one.
		WriteTimeout:                 p.cfg.MaxScrapeTimeout + stallTimeout,
		MaxHeaderBytes:               16 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
}

// remoteIP is where a scraper's connection comes from; headers that claim
// another address are not believed.
func remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

func segmentsOf(f found, path string) []string {
	if f.route != nil {
		return f.route.segments
	}
	return tunnelv1.Segments(path)
}
