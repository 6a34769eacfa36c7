// Package admin is the listener on which a daemon tells how it is: whether it
// lives, whether it is ready, its own metrics, pages for people, and lists of what it
// works with as JSON. Only commands import it.
//
// It answers only GET, and has no profiler. On a loopback address it is plain HTTP,
// and answers only where the Host header names this machine: a web page that has its
// own name resolved to 127.0.0.1 learns nothing. On any other address it is TLS, and a
// guard says who may see what; the two health paths say the status and no more, to
// anybody.
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

	"github.com/seed-951114d4/sallyport/authn"
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
	pages   http.Handler
	log     *slog.Logger
}

// New makes a server. Ready returns nil, or why the daemon is not ready, a line for
// each reason; it is called for each request and must not block.
func New(ready func() error, metrics prometheus.Gatherer, log *slog.Logger) *Server {
	return &Server{
		ready: ready,
		metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
			ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
			MaxRequestsInFlight: maxGathering,
			EnableOpenMetrics:   true,
		}),
		lists: lists{byName: make(map[string]*list), making: make(chan struct{}, maxMaking)},
		pages: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusNotFound, "not found") }),
		log:   log,
	}
}

// Pages has everything else served by a handler. It is called before Run.
func (s *Server) Pages(pages http.Handler) { s.pages = pages }

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

// Run serves a listener on a loopback address, and closes it, until the context ends
// or serving fails. A nil listener, as Listen returns it, only waits for the context.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	if listener == nil {
		<-ctx.Done()
		return nil
	}
	if host, _, err := net.SplitHostPort(listener.Addr().String()); err != nil || !loopback(host) {
		return errors.Join(fmt.Errorf("serving administration: %s is no loopback address, and this is plain HTTP", listener.Addr()), listener.Close())
	}
	return s.serve(ctx, listener, s)
}

// RunGuarded is Run on any other address, with the guard that says who may see what.
// The listener's type is that of connections that have shaken hands.
func (s *Server) RunGuarded(ctx context.Context, listener *authn.Listener, guard Guard) error {
	return s.serve(ctx, listener, s.Guarded(guard))
}

func (s *Server) serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	places := places{open: make(map[net.Conn]*place)}
	server := &http.Server{
		Handler: handler,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return places.enter(authn.ConnContext(ctx, conn), conn)
		},
		ConnState:         places.changed,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends what somebody watches
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Whoever asks for OPTIONS * is asked who it is, as everybody.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
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

// ServeHTTP answers somebody on this machine.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	protect(w.Header())
	refuse(w)
	switch {
	case !local(r.Host):
		answer(w, http.StatusForbidden, "the Host header does not name this machine")
	case foreign(r):
		answer(w, http.StatusForbidden, "a page of another origin has no business here")
	case r.Method != http.MethodGet:
		methodNotAllowed(w)
	default:
		letIn(w, r)
		s.serveLocal(w, r)
	}
}

func (s *Server) serveLocal(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case healthyPath:
		answer(w, http.StatusOK, "healthy")
	case readyPath:
		if err := s.ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	default:
		s.tell(w, r)
	}
}

// Guarded answers somebody on another machine.
func (s *Server) Guarded(guard Guard) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serveGuarded(w, r, guard) })
}

func (s *Server) serveGuarded(w http.ResponseWriter, r *http.Request, guard Guard) {
	protect(w.Header())
	refuse(w)
	switch {
	case foreign(r):
		answer(w, http.StatusForbidden, "a page of another origin has no business here")
	case r.Method != http.MethodGet:
		methodNotAllowed(w)
	case r.URL.Path == healthyPath:
		answer(w, http.StatusOK, "healthy")
	case r.URL.Path == readyPath && s.ready() != nil:
		answer(w, http.StatusServiceUnavailable, "not ready")
	case r.URL.Path == readyPath:
		answer(w, http.StatusOK, "ready")
	default:
		if status, text := guard(r); status != http.StatusOK {
			answer(w, status, text)
			return
		}
		letIn(w, r)
		s.tell(w, guarded(r, guard))
	}
}

const (
	healthyPath = "/-/healthy"
	readyPath   = "/-/ready"
)

// tell answers with what is not for everybody.
func (s *Server) tell(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/metrics":
		s.metrics.ServeHTTP(w, r)
	case !s.lists.serve(w, r):
		s.pages.ServeHTTP(w, r)
	}
}

func methodNotAllowed(w http.ResponseWriter) {
	w.Header().Set("Allow", http.MethodGet)
	answer(w, http.StatusMethodNotAllowed, "only GET")
}

func answer(w http.ResponseWriter, status int, text string) {
	head(w, status, "text/plain; charset=utf-8")
	// An error here means that the client is gone, and nobody wants to know.
	_, _ = io.WriteString(w, text+"\n")
}

func head(w http.ResponseWriter, status int, contentType string) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	w.WriteHeader(status)
}
