package admin_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/pki"
)

// guarded serves TLS, as to other machines, and returns what opens a connection.
func guarded(t *testing.T, server *admin.Server, guard admin.Guard) func() *client {
	t.Helper()
	dir := t.TempDir()
	if _, err := pki.Init(dir, pki.InitOptions{TrustDomain: "example.org"}); err != nil {
		t.Fatal(err)
	}
	request := pki.Request{Role: pki.Proxy, SPIFFEID: "spiffe://example.org/proxy", DNSNames: []string{"localhost"}}
	if _, err := pki.Issue(dir, pki.IssueOptions{Request: request, Name: "proxy"}); err != nil {
		t.Fatal(err)
	}
	files := authn.Config{CertFile: dir + "/proxy.pem", KeyFile: dir + "/proxy-key.pem", CAFile: dir + "/ca.pem"}
	source, err := authn.NewFiles(files, authn.Server, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	anchors, err := os.ReadFile(dir + "/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	trust := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	trust.RootCAs.AppendCertsFromPEM(anchors)
	listener := listen(t)
	secure := authn.ListenHTTPS(listener, source, authn.ListenConfig{Auth: authn.OptionalClient})
	run(t, func(ctx context.Context) error { return server.RunGuarded(ctx, secure, guard) })
	return func() *client {
		t.Helper()
		conn, err := tls.Dial("tcp", listener.Addr().String(), trust)
		if err != nil {
			t.Fatal(err)
		}
		return newClient(t, conn)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := admin.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// run serves until the test ends.
func run(t *testing.T, serve func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// client is a connection by hand: an HTTP client would open another where one ends.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func newClient(t *testing.T, conn net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// ask sends a request line; nil: the connection has ended.
func (c *client) ask(line string) *http.Response {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, line+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return nil
	}
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		c.t.Fatal(err)
	}
	return response
}

// Who was not let in is answered once on a connection: a stranger holds none, and whose
// certificate has ended comes again with another.
func TestStrangersHoldNoConnection(t *testing.T) {
	t.Parallel()
	var status atomic.Int32
	status.Store(http.StatusOK)
	dial := guarded(t, newServer(func() error { return nil }), func(*http.Request) (int, string) { return int(status.Load()), "no" })
	guest := dial()
	for range 2 {
		if response := guest.ask("GET /metrics"); response == nil || response.StatusCode != http.StatusOK {
			t.Fatalf("who is let in: %v", response)
		}
	}
	status.Store(http.StatusUnauthorized)
	for line, want := range map[string]int{
		"GET /-/healthy": 200, "GET /-/ready": 200, "GET /": 401, "POST /": 405, "OPTIONS *": 405, "OPTIONS /": 405,
	} {
		c := dial()
		response := c.ask(line)
		if response == nil || response.StatusCode != want || !response.Close {
			t.Errorf("%s: %v", line, response)
			continue
		}
		if response.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: header %v", line, response.Header)
		}
		if _, err := c.in.ReadByte(); err != io.EOF {
			t.Errorf("%s: the connection stays: %v", line, err)
		}
	}
	if response := guest.ask("GET /metrics"); response == nil || response.StatusCode != http.StatusUnauthorized || !response.Close {
		t.Errorf("who was let in before: %v", response)
	}
}

// There are only so many connections, and those make room of which nobody has seen who
// they are: a flood of them shuts nobody out, and ends nobody's connection.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	const flood = admin.MaxConnections + 20
	listener := listen(t)
	run(t, func(ctx context.Context) error { return newServer(func() error { return nil }).Run(ctx, listener) })
	dial := func() *client {
		t.Helper()
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return newClient(t, conn)
	}
	guest := dial()
	if response := guest.ask("GET /-/ready"); response == nil || response.StatusCode != http.StatusOK {
		t.Fatalf("before the flood: %v", response)
	}
	var silent []*client
	for range flood {
		silent = append(silent, dial())
	}
	for name, c := range map[string]*client{"a new one": dial(), "the one of before": guest} {
		if response := c.ask("GET /-/ready"); response == nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s in the flood: %v", name, response)
		}
	}
	// At once, and not when the time for a request is over.
	for i, c := range silent[:20] {
		if err := c.conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.in.ReadByte(); err == nil || isTimeout(err) {
			t.Fatalf("the %dth of %d that are silent stays: %v", i+1, flood, err)
		}
	}
}

// Where all are known to be let in, one that is idle makes room: which, is told by
// TestLongestIdleMakesRoom, for a client does not see when its server has become idle.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	listener := listen(t)
	run(t, func(ctx context.Context) error { return newServer(func() error { return nil }).Run(ctx, listener) })
	var guests []*client
	for i := range admin.MaxConnections + 1 {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		guests = append(guests, newClient(t, conn))
		if response := guests[i].ask("GET /-/ready"); response == nil || response.StatusCode != http.StatusOK {
			t.Fatalf("the %dth: %v", i+1, response)
		}
	}
	gone := 0
	for _, guest := range guests {
		if guest.ask("GET /-/ready") == nil {
			gone++
		}
	}
	if gone != 1 {
		t.Errorf("%d made room for one", gone)
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}
