package proxy

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/seed-951114d4/sallyport/authn"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// tunnelHealth is the standard health service on the tunnel, for probes and balancers
// that speak gRPC. It tells a peer that proved an identity no more than whether the
// proxy takes sessions. That is not what connections are for: one that has no session
// helloTimeout after it first asked is closed, whatever it asks meanwhile.
type tunnelHealth struct {
	*health.Server
	sessions *sessions
	parted   context.Context // ends with the drain
	part     context.CancelFunc

	mu      sync.Mutex
	waiting map[net.Conn]struct{} // that will be looked at
}

// newTunnelHealth takes a context that outlives the drain.
func newTunnelHealth(ctx context.Context, s *sessions) *tunnelHealth {
	h := &tunnelHealth{Server: health.NewServer(), sessions: s, waiting: make(map[net.Conn]struct{})}
	h.parted, h.part = context.WithCancel(ctx)
	h.SetServingStatus(tunnelv1.Tunnel_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	return h
}

// drain says from now on that nothing is served.
func (h *tunnelHealth) drain() { h.Shutdown() }

// Check implements grpc_health_v1.HealthServer.
func (h *tunnelHealth) Check(ctx context.Context, request *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	h.visited(ctx)
	return h.Server.Check(ctx, request)
}

// List implements grpc_health_v1.HealthServer.
func (h *tunnelHealth) List(ctx context.Context, request *grpc_health_v1.HealthListRequest) (*grpc_health_v1.HealthListResponse, error) {
	h.visited(ctx)
	return h.Server.List(ctx, request)
}

// Watch implements grpc_health_v1.HealthServer. It ends with the drain, which waits for
// all calls.
func (h *tunnelHealth) Watch(request *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	h.visited(stream.Context())
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(h.parted, cancel)()
	return h.Server.Watch(request, watching{stream, ctx})
}

// watching is a stream with a context that ends sooner.
type watching struct {
	grpc_health_v1.Health_WatchServer
	ctx context.Context
}

func (w watching) Context() context.Context { return w.ctx }

// visited has the connection closed if it has no session in a while. There is one timer
// for each connection, however often it asks.
func (h *tunnelHealth) visited(ctx context.Context) {
	conn, ok := authn.ConnFromContext(ctx)
	if !ok || h.sessions.of(conn) != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.waiting[conn]; ok {
		return
	}
	h.waiting[conn] = struct{}{}
	time.AfterFunc(helloTimeout, func() {
		h.mu.Lock()
		delete(h.waiting, conn)
		h.mu.Unlock()
		if h.sessions.of(conn) == nil {
			_ = conn.Close()
		}
	})
}
