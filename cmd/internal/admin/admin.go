// Package admin is the listener on which a daemon tells how it is: whether it
// lives, whether it is ready, its own metrics, and lists of what it works with as
// JSON. Only commands import it.
//
// It is plain HTTP, so it takes loopback addresses only, answers only GET, and
// only where the Host header names this machine: a web page that has its own
// name resolved to 127.0.0.1 learns nothing. It has no profiler.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-951114d4/sallyport/cmd/internal/release"
)

// Bounds on what a client of the listener may hold up.
const (
	headerTimeout  = 5 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10
	maxGathering   = 4 // scrapes of /metrics at a time
	stopTimeout    = 2 * time.Second
)

// NewRegistry returns a registry that holds what every program has: the Go
// runtime, the process and the build.
func NewRegistry(program string) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		release.Metric(program),
	)
	return registry
}

// Server serves the listener.
type Server struct {
	ready   func() error
	metrics http.Handler
	lists   lists
	log     *slog.Logger
}

// New makes a server. Ready returns nil, or in one line why the daemon is not
// ready; it is called for each request and must not block.
func New(ready func() error, metrics prometheus.Gatherer, log *slog.Logger) *Server {
	return &Server{
		ready: ready,
		metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
			ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
			MaxRequestsInFlight: maxGathering,
			EnableOpenMetrics:   true,
		}),
		log: log,
	}
}

// Listen opens the address. It returns nil, nil where the listener is off.
func Listen(ctx context.Context, addr Addr) (net.Listener, error) {
	if addr == Off {
		return nil, nil
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", string(addr))
	if err != nil {
		return nil, fmt.Errorf("listening for administration: %w", err)
	}
	return listener, nil
}

// Run serves the listener, and closes it, until the context ends or serving
// fails. A nil listener, as Listen returns it, only waits for the context.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	if listener == nil {
		<-ctx.Done()
		return nil
	}
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving administration: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving administration: %w", err)
	}
	return nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case !local(r.Host):
		answer(w, http.StatusForbidden, "the Host header does not name this machine")
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		answer(w, http.StatusMethodNotAllowed, "only GET")
	case r.URL.Path == "/-/healthy":
		answer(w, http.StatusOK, "healthy")
	case r.URL.Path == "/-/ready":
		if err := s.ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	case r.URL.Path == "/metrics":
		s.metrics.ServeHTTP(w, r)
	default:
		if !s.lists.serve(w, r.URL.Path) {
			answer(w, http.StatusNotFound, "not found")
		}
	}
}

// local tells whether a Host header, with or without a port, is a loopback one.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return loopback(name)
	}
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	return loopback(host)
}

func answer(w http.ResponseWriter, status int, text string) {
	head(w, status, "text/plain; charset=utf-8")
	// An error here means that the client is gone, and nobody wants to know.
	_, _ = io.WriteString(w, text+"\n")
}

func head(w http.ResponseWriter, status int, contentType string) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
}
