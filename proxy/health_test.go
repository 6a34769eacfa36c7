package proxy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/seed-951114d4/sallyport/pki"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
	"github.com/seed-951114d4/sallyport/testenv"
)

// dialTunnel connects to the tunnel with a certificate and speaks gRPC as it likes.
func dialTunnel(t *testing.T, w *testenv.World, id string) *grpc.ClientConn {
	t.Helper()
	leaf := w.Leaf(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID(id)})
	creds := credentials.NewTLS(&tls.Config{RootCAs: w.CA.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{leaf.TLS()}})
	conn, err := grpc.NewClient("passthrough:///"+w.Proxy.TunnelAddr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Who proved an identity learns whether the tunnel serves, and sees it drain.
func TestHealthService(t *testing.T) {
	t.Parallel()
	gate := testenv.NewGate(t, false)
	w, scraper := world(t, testenv.Route(path, gate.URL))
	client := grpc_health_v1.NewHealthClient(dialTunnel(t, w, "probe"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, service := range []string{"", tunnelv1.Tunnel_ServiceDesc.ServiceName} {
		answer, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", service, answer, err)
		}
	}
	if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("a service that is not there: %v", err)
	}
	watch, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func() string {
		answer, err := watch.Recv()
		if err != nil {
			return status.Code(err).String()
		}
		return answer.GetStatus().String()
	}
	if got := next(); got != "SERVING" {
		t.Fatalf("watching: %s", got)
	}
	flying := make(chan testenv.Answer, 1)
	go func() { flying <- scraper.Get(path) }()
	<-gate.Arrived()
	w.Proxy.Drain()
	if got := next(); got != "NOT_SERVING" {
		t.Errorf("while it drains: %s", got)
	}
	if answer, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("while it drains: %v, %v", answer, err)
	}
	gate.Open()
	if answer := <-flying; answer.Status != 200 {
		t.Errorf("the scrape in flight: %d", answer.Status)
	}
	if got := next(); got != "Canceled" && got != "Unavailable" {
		t.Errorf("after the drain: %s", got)
	}
	began := time.Now()
	w.Proxy.Stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a watcher held the stop up for %s", took)
	}
}

// Asking for health keeps no connection that has no session.
func TestHealthServiceKeepsNoConnection(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	began := time.Now()
	asked := make(chan error, 2)
	watching, checking := dialTunnel(t, w, "a"), dialTunnel(t, w, "b")
	go func() {
		watch, err := grpc_health_v1.NewHealthClient(watching).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		for err == nil {
			_, err = watch.Recv()
		}
		asked <- err
	}()
	go func() {
		// Calls on a broken connection would dial another: one stream shows its end.
		var err error
		watch, err := grpc_health_v1.NewHealthClient(checking).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for err == nil {
				_, err = watch.Recv()
			}
		}()
		for {
			select {
			case <-done:
				asked <- err
				return
			case <-time.After(100 * time.Millisecond):
				_, _ = grpc_health_v1.NewHealthClient(checking).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			}
		}
	}()
	for range 2 {
		if err := <-asked; status.Code(err) != codes.Unavailable {
			t.Errorf("it ended with %v", err)
		}
		if lasted := time.Since(began); lasted < 5*time.Second || lasted > 15*time.Second {
			t.Errorf("a connection without a session lasted %s", lasted)
		}
	}
}

// Nor does it end one that has a session, or count against what a session may have.
func TestHealthServiceBesideASession(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: anyRoute})
	a := newRawAgent(t, w, "team-a/node")
	watch, err := grpc_health_v1.NewHealthClient(a.conn).Watch(a.ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	a.begin()
	const patience = 11 * time.Second // longer than a connection without a session has
	timer := time.NewTimer(patience)
	defer timer.Stop()
	ended := make(chan error, 1)
	go func() { _, err := watch.Recv(); ended <- err }()
	select {
	case err := <-ended:
		t.Fatalf("it ended: %v", err)
	case <-timer.C:
	}
	if answer := a.offer(routeOffer("/x")); fmt.Sprint(answer[0].GetCode()) != "ACCEPTED" {
		t.Errorf("the session: %v", answer)
	}
}
