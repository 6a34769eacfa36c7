package proxy_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// dial opens a connection to the scrape listener for requests that no HTTP client
// sends; with a nil leaf, that of a stranger.
func dial(t *testing.T, w *testenv.World, leaf *pki.Leaf) *tls.Conn {
	t.Helper()
	cfg := &tls.Config{RootCAs: w.CA.Pool(), ServerName: "localhost"}
	if leaf != nil {
		cfg.Certificates = []tls.Certificate{leaf.TLS()}
	}
	conn, err := tls.Dial("tcp", w.Proxy.ScrapeAddr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A body that is announced and never sent holds no connection, whoever asks.
func TestBodyThatNeverComes(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Proxy: func(c *proxy.Config) { c.ClientAuth = proxy.ClientAuthOptional }})
	for name, request := range map[string]string{
		"length":  "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
		"chunked": "GET /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"expects": "GET /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, w, nil)
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			answer, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != 401 {
				t.Errorf("status %d, %v", answer.StatusCode, err)
			}
			if _, err := in.ReadByte(); err != io.EOF {
				t.Errorf("the connection stays: %v", err)
			}
		})
	}
}

// HTTP/1.0 has no chunks: a cut body would end as a whole one does.
func TestHTTP10IsRefused(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	w.Agent("team-a/node", testenv.Route(path, testenv.Metrics(t).URL))
	conn := dial(t, w, w.Leaf(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")}))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if outcome := answer.Header.Get("Sallyport-Outcome"); answer.StatusCode != 400 || outcome != "bad_request" {
		t.Errorf("%d %q", answer.StatusCode, outcome)
	}
}

// Who shows no credential is answered once on a connection, and holds none; who shows a
// good one goes on over its own.
func TestStrangersHoldNoConnection(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Proxy: func(c *proxy.Config) { c.ClientAuth = proxy.ClientAuthOptional }})
	for _, path := range []string{"/x", "/-/discovery"} {
		conn := dial(t, w, nil)
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != 401 || !answer.Close {
			t.Errorf("%s: status %d, close %v, %v", path, answer.StatusCode, answer.Close, err)
		}
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("%s: the connection stays: %v", path, err)
		}
	}
	known := dial(t, w, w.Leaf(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")}))
	in := bufio.NewReader(known)
	for range 2 {
		if _, err := io.WriteString(known, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != 404 {
			t.Errorf("who has one: status %d, %v", answer.StatusCode, err)
		}
	}
}
