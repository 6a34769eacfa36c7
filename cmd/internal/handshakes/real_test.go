package handshakes_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/dashboard"
	"github.com/seed-951114d4/sallyport/cmd/internal/handshakes"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
)

// Who fails is told of with what it claims to be and what to do about it: a certificate
// that has ended, a request without TLS. Who tries again and again is told of once.
func TestFailuresAreTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := pki.Init(dir, pki.InitOptions{TrustDomain: "example.org"}); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Issue(dir, pki.IssueOptions{Request: pki.Request{Role: pki.Proxy, SPIFFEID: "spiffe://example.org/proxy"}, Name: "proxy"}); err != nil {
		t.Fatal(err)
	}
	var log testenv.Logs
	logger := slog.New(slog.NewTextHandler(&log, nil))
	source, err := authn.NewSource(authn.Config{
		CertFile: filepath.Join(dir, "proxy.pem"), KeyFile: filepath.Join(dir, "proxy-key.pem"), CAFile: filepath.Join(dir, "ca.pem"),
	}, authn.Server, logger)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	book := handshakes.New(prometheus.NewRegistry(), logger)
	listener := authn.ListenHTTPS(plain, source, book.Hear("scrape", authn.ListenConfig{Auth: authn.RequireClient}))
	var accepting sync.WaitGroup
	accepting.Go(func() { _, _ = listener.Accept() })
	defer accepting.Wait()
	defer listener.Close()

	other, err := pki.NewCA(pki.CAConfig{TrustDomain: "example.org"})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := other.Issue(pki.Request{Role: pki.Scraper, SPIFFEID: "spiffe://example.org/prometheus"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{stranger.TLS()}}}).
			DialContext(t.Context(), "tcp", plain.Addr().String())
		if err == nil {
			_, err = conn.Read(make([]byte, 1)) // the client has finished before the server judges
			conn.Close()
		}
		if err == nil {
			t.Error("a stranger was let in")
		}
		request(t, plain.Addr())
	}
	var told []dashboard.Stranger
	testenv.Eventually(t, func() error {
		if told = book.Strangers(); len(told) != 2 || told[0].Count+told[1].Count != 6 {
			return fmt.Errorf("%+v", told)
		}
		return nil
	})
	slices.SortFunc(told, func(a, b dashboard.Stranger) int { return strings.Compare(a.Reason, b.Reason) })
	http, claimed := told[0], told[1]
	if http.Reason != "plain_http" || http.Count != 3 || !strings.Contains(http.Hint, "scheme: https") || http.Claims != "" {
		t.Errorf("a request without TLS: %+v", http)
	}
	if claimed.Reason != "unknown_authority" || claimed.Count != 3 || claimed.Hint == "" || claimed.Claims != "spiffe://example.org/prometheus" ||
		claimed.ClaimEnds == nil || claimed.ClaimEnds.Before(time.Now()) {
		t.Errorf("a stranger: %+v", claimed)
	}
	if n := strings.Count(log.String(), "handshake failed"); n != 2 {
		t.Errorf("%d lines about two that tried three times each:\n%s", n, log.String())
	}
	if want := "claims=spiffe://example.org/prometheus"; !strings.Contains(log.String(), want) {
		t.Errorf("the log does not say %q:\n%s", want, log.String())
	}
}

// request speaks HTTP and waits to be hung up on.
func request(t *testing.T, addr net.Addr) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /metrics HTTP/1.1\r\nHost: proxy\r\n\r\n")
	_, _ = io.ReadAll(conn)
}
