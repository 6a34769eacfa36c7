package admin_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newServer(ready func() error) *admin.Server {
	return admin.New(ready, admin.NewRegistry("test"), slog.New(slog.DiscardHandler))
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	var reason atomic.Pointer[string]
	server := newServer(func() error {
		if text := reason.Load(); text != nil {
			return errors.New(*text)
		}
		return nil
	})
	get := func(method, host, path string) (int, string) {
		request := httptest.NewRequest(method, "http://"+host+path, nil)
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, request)
		return recorder.Code, recorder.Body.String()
	}
	starting := "no proxy has answered yet"
	for _, c := range []struct {
		name, method, host, path string
		reason                   *string
		status                   int
		body                     string
	}{
		{"healthy", "GET", "127.0.0.1:8092", "/-/healthy", nil, 200, "healthy\n"},
		{"healthy while not ready", "GET", "127.0.0.1:8092", "/-/healthy", &starting, 200, "healthy\n"},
		{"ready", "GET", "localhost:8092", "/-/ready", nil, 200, "ready\n"},
		{"not ready", "GET", "localhost", "/-/ready", &starting, 503, starting + "\n"},
		{"IPv6", "GET", "[::1]:8092", "/-/ready", nil, 200, "ready\n"},
		{"IPv6 without a port", "GET", "[::1]", "/-/ready", nil, 200, "ready\n"},
		{"metrics", "GET", "127.0.0.1:8092", "/metrics", nil, 200, `sallyport_build_info{go_version="go`},
		{"rebound name", "GET", "evil.example.org:8092", "/metrics", nil, 403, "Host"},
		{"rebound address", "GET", "192.0.2.1:8092", "/metrics", nil, 403, "Host"},
		{"name that begins like ours", "GET", "localhost.example.org", "/metrics", nil, 403, "Host"},
		{"POST", "POST", "127.0.0.1:8092", "/metrics", nil, 405, "only GET\n"},
		{"HEAD", "HEAD", "127.0.0.1:8092", "/-/healthy", nil, 405, ""},
		{"unknown", "GET", "127.0.0.1:8092", "/", nil, 404, "not found\n"},
		{"profiler", "GET", "127.0.0.1:8092", "/debug/pprof/", nil, 404, "not found\n"},
	} {
		reason.Store(c.reason)
		status, body := get(c.method, c.host, c.path)
		if status != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%s: got %d %q", c.name, status, body)
		}
	}
}

func TestMetricsHaveRuntimeAndProcess(t *testing.T) {
	t.Parallel()
	families, err := admin.NewRegistry("test").Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, family := range families {
		names[family.GetName()] = true
	}
	for _, name := range []string{"go_goroutines", "process_start_time_seconds", "sallyport_build_info"} {
		if !names[name] {
			t.Errorf("no %s", name)
		}
	}
}

func TestAddr(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"off", "127.0.0.1:8092", "127.9.9.9:0", "[::1]:8092", "localhost:8092", "[::ffff:127.0.0.1]:1", ":8092", "0.0.0.0:8092", "10.0.0.1:8092", "[::]:8092"} {
		var addr admin.Addr
		if err := addr.UnmarshalText([]byte(text)); err != nil || string(addr) != text {
			t.Errorf("%s: got %q, %v", text, addr, err)
		}
	}
	for text, want := range map[string]string{
		"admin.example.org:1": "IP address",
		"127.0.0.1":           "host:port",
		"OFF":                 "host:port",
		"127.0.0.1:http":      "port",
		"127.0.0.1:65536":     "port",
	} {
		var addr admin.Addr
		if err := addr.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %q, %v", text, addr, err)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	listener, err := admin.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- newServer(func() error { return nil }).Run(ctx, listener) }()

	// By hand, so that no client of ours keeps a connection of its own.
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /-/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("got %s", response.Status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		conn.Close()
		t.Error("still listening")
	}
}

func TestRunOff(t *testing.T) {
	t.Parallel()
	listener, err := admin.Listen(t.Context(), admin.Off)
	if err != nil || listener != nil {
		t.Fatalf("got %v, %v", listener, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newServer(nil).Run(ctx, nil); err != nil {
		t.Error(err)
	}
}

func TestRunFails(t *testing.T) {
	t.Parallel()
	listener, err := admin.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := newServer(nil).Run(t.Context(), listener); err == nil {
		t.Error("serving a closed listener did not fail")
	}
}
