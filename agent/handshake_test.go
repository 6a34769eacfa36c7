package agent_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/testenv"
)

// startAgainst runs an agent against a listener that is no fake proxy and waits
// until its log has told want.
func startAgainst(t *testing.T, addr string, realm *realm, proxy spiffeid.ID, result string, want ...string) {
	t.Helper()
	r := startRig(t, rigOptions{targets: agent.Targets{someTarget}, realm: realm, proxyID: &proxy, configure: func(c *agent.Config) {
		c.ProxyAddrs = []string{addr}
	}})
	testenv.Eventually(t, func() error {
		log := r.log.String()
		for _, w := range want {
			if !strings.Contains(log, w) {
				return fmt.Errorf("the log does not tell %q: %s", w, log)
			}
		}
		if n := r.metric(t, "sallyport_agent_connects_total", result); n <= 2 {
			return fmt.Errorf("%v attempts with the result %s", n, result)
		}
		return nil
	})
	if n := strings.Count(r.log.String(), "level=WARN"); n != 1 {
		t.Errorf("told %d times: %s", n, r.log.String())
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

func TestHandshakeWithAnotherProxy(t *testing.T) {
	t.Parallel()
	realm := newRealm(t)
	proxy := startProxy(t, realm, listen(t), nil)
	startAgainst(t, proxy.addr, realm, spiffeid.RequireFromString("spiffe://example.org/other-proxy"), "handshake",
		"no session, trying again until there is one", "another than the expected proxy answered: compare SALLYPORT_PROXY_ID")
	if len(proxy.sessions) != 0 {
		t.Error("the agent greeted a proxy that it did not expect")
	}
}

func TestHandshakeWithAnUnknownAuthority(t *testing.T) {
	t.Parallel()
	ours, theirs := newRealm(t), newRealm(t)
	proxy := startProxy(t, theirs, listen(t), nil)
	startAgainst(t, proxy.addr, ours, usualProxy, "handshake", "the agent does not trust the authority of the proxy's certificate")
}

// The proxy refuses the agent's certificate, which in TLS 1.3 shows late.
func TestHandshakeThatTheProxyRefuses(t *testing.T) {
	t.Parallel()
	ours, theirs := newRealm(t), newRealm(t)
	proxy := startProxy(t, ours, listen(t), nil)
	foreign := &realm{ca: theirs.ca, proxy: ours.proxy}
	foreign.agent = foreign.source(t, agentRequest, authn.Client, ours.ca)
	startAgainst(t, proxy.addr, foreign, usualProxy, "handshake", "the proxy refuses the agent's certificate")
}

func TestHandshakeWithSomethingElse(t *testing.T) {
	t.Parallel()
	realm := newRealm(t)
	plain := listen(t)
	go http.Serve(plain, http.NotFoundHandler())
	startAgainst(t, plain.Addr().String(), realm, usualProxy, "handshake", "that port does not speak Sallyport's TLS")

	closing := listen(t)
	go func() {
		for {
			conn, err := closing.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	startAgainst(t, closing.Addr().String(), realm, usualProxy, "handshake", "shaking hands")
}

// The proxy's own certificate, but on its scrape port, which speaks no HTTP/2: that
// is no refusal of the agent's certificate.
func TestHandshakeWithTheScrapePort(t *testing.T) {
	t.Parallel()
	realm := newRealm(t)
	listener := listen(t)
	server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(authn.ListenHTTPS(listener, realm.proxy, authn.ListenConfig{}))
	t.Cleanup(func() { server.Close() })
	startAgainst(t, listener.Addr().String(), realm, usualProxy, "handshake",
		"no application protocol", "SALLYPORT_PROXY_ADDRS wants the proxy's tunnel port")
}

// A proxy's certificate, but no tunnel behind it.
func TestHandshakeWithAnotherService(t *testing.T) {
	t.Parallel()
	realm := newRealm(t)
	material, err := realm.proxy.Material()
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{*material.Certificate}})))
	listener := listen(t)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	startAgainst(t, listener.Addr().String(), realm, usualProxy, "refused", "that is no tunnel port of a Sallyport proxy")
}

func TestHandshakeWithAProxyThatIsDown(t *testing.T) {
	t.Parallel()
	realm := newRealm(t)
	listener := listen(t)
	listener.Close()
	startAgainst(t, listener.Addr().String(), realm, usualProxy, "unreachable", "connecting: ", "connection refused")
}
