// Package workload is a SPIFFE Workload API for tests: the real gRPC service on a
// real unix socket, with certificates and keys that it is given, and every fault
// of its kind on demand. It mints no certificates; a JWTAuthority mints tokens.
package workload

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// State is what the Workload API hands out.
type State struct {
	// SVIDs are chains, leaf first, with their keys. In a real answer they come in
	// no order.
	SVIDs []tls.Certificate
	// Bundles are the anchors of trust domains, by name. Those that no SVID belongs
	// to are handed out as federated ones.
	Bundles map[string][]*x509.Certificate
	// JWT are the keys of tokens. Those of one trust domain are handed out together.
	JWT []*JWTAuthority
}

// Server is a Workload API. All its methods may be called at any time, by many.
type Server struct {
	socket string

	mu      sync.Mutex
	changed chan struct{} // closed at every change
	running *grpc.Server  // nil while stopped
	serving chan struct{} // closed when running has ended
	svids   *api.X509SVIDResponse
	bundles *api.X509BundlesResponse
	tokens  *api.JWTBundlesResponse
	version int
	refusal error
	stalled bool
	cut     int   // how often streams were cut
	cutWith error // the last time
	opened  int   // streams, ever
}

// Start serves on a socket of its own until the test ends. It has no identity to
// give yet, and says so as SPIRE does.
func Start(tb testing.TB) *Server {
	tb.Helper()
	// A test's own folder may be too long for a socket's name.
	dir, err := os.MkdirTemp("", "workload")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	s, err := New(filepath.Join(dir, "api.sock"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Stop)
	return s
}

// New serves on the given socket until Stop.
func New(socket string) (*Server, error) {
	s := &Server{socket: socket, changed: make(chan struct{})}
	return s, s.Restart()
}

// Address is for SPIFFE_ENDPOINT_SOCKET.
func (s *Server) Address() string { return "unix://" + s.socket }

// Set hands out a new state, to open streams too. It ends Refuse and Stall.
func (s *Server) Set(state State) error {
	svids, bundles, err := encode(state)
	if err != nil {
		return err
	}
	tokens, err := encodeJWT(state.JWT)
	if err != nil {
		return err
	}
	s.set(svids, bundles, tokens)
	return nil
}

// SetRaw hands out any answer at all, however malformed. Keys of tokens stay.
func (s *Server) SetRaw(svids *api.X509SVIDResponse, bundles *api.X509BundlesResponse) {
	s.set(svids, bundles, nil)
}

// set leaves the keys of tokens where there are no new ones.
func (s *Server) set(svids *api.X509SVIDResponse, bundles *api.X509BundlesResponse, tokens *api.JWTBundlesResponse) {
	s.update(func() {
		s.svids, s.bundles = svids, bundles
		if tokens != nil {
			s.tokens = tokens
		}
		s.version++
		s.refusal, s.stalled = nil, false
	})
}

// Refuse ends every stream, open or new, with the status, until Set or Resume.
func (s *Server) Refuse(code codes.Code, message string) {
	s.update(func() { s.refusal = status.Error(code, message) })
}

// Stall answers nothing more, until Set or Resume. Streams stay open.
func (s *Server) Stall() { s.update(func() { s.stalled = true }) }

// Resume ends Refuse and Stall.
func (s *Server) Resume() { s.update(func() { s.refusal, s.stalled = nil, false }) }

// CloseStreams ends the open streams with the status; new ones are served.
// codes.OK ends them as if all were said.
func (s *Server) CloseStreams(code codes.Code, message string) {
	s.update(func() {
		s.cut++
		s.cutWith = status.Error(code, message)
	})
}

// Opened counts the streams that were ever opened.
func (s *Server) Opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// AwaitOpened waits until that many streams were opened in all.
func (s *Server) AwaitOpened(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		opened, changed := s.opened, s.changed
		s.mu.Unlock()
		if opened >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Stop ends the service and removes its socket.
func (s *Server) Stop() {
	s.mu.Lock()
	running, serving := s.running, s.serving
	s.running = nil
	s.mu.Unlock()
	if running != nil {
		running.Stop()
		<-serving
	}
}

// Restart stops the service if it runs, and serves on a new socket of the same
// name.
func (s *Server) Restart() error {
	s.Stop()
	listener, err := net.Listen("unix", s.socket)
	if err != nil {
		return err
	}
	running, serving := grpc.NewServer(), make(chan struct{})
	api.RegisterSpiffeWorkloadAPIServer(running, service{server: s})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		_ = listener.Close()
		return errors.New("workload API was restarted twice at once")
	}
	s.running, s.serving = running, serving
	go func() {
		defer close(serving)
		_ = running.Serve(listener)
	}()
	return nil
}

func (s *Server) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}
