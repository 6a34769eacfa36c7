package authn_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

// proxyServer is a gRPC server that tells of the calls it gets, whatever they are.
type proxyServer struct {
	addr  string
	calls chan context.Context
}

func startProxy(t *testing.T, source authn.Source, failed failures) proxyServer {
	t.Helper()
	listener := authn.ListenTunnel(listen(t), source, authn.ListenConfig{Failed: failed.hear})
	p := proxyServer{addr: listener.Addr().String(), calls: make(chan context.Context, 16)}
	server := grpc.NewServer(
		grpc.Creds(authn.TunnelServerCredentials()),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			p.calls <- stream.Context()
			<-stream.Context().Done()
			return nil
		}))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return p
}

// call opens a stream and returns it once the server has it, or the error.
func call(t *testing.T, addr string, creds credentials.TransportCredentials) (*grpc.ClientConn, grpc.ClientStream, error) {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test/call")
	return conn, stream, err
}

func TestTunnel(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	proxy := startProxy(t, files(t, authn.Server, proxyLeaf(t, ca), ca), newFailures())
	source := files(t, authn.Client, agentLeaf(t, ca), ca)
	conn, stream, err := call(t, proxy.addr, authn.TunnelClientCredentials(source, spiffeid.RequireFromString(prxyID)))
	if err != nil {
		t.Fatal(err)
	}
	first := <-proxy.calls
	peer, ok := authn.PeerFromContext(first)
	if !ok || peer.Identity.String() != nodeID {
		t.Fatalf("the proxy sees %v", peer)
	}
	if peer, ok := authn.PeerFromContext(stream.Context()); !ok || peer.Identity.String() != prxyID {
		t.Errorf("the agent sees %v", peer)
	}
	if _, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test/call"); err != nil {
		t.Fatal(err)
	}
	second := <-proxy.calls
	a, _ := authn.ConnFromContext(first)
	b, _ := authn.ConnFromContext(second)
	if a == nil || a != b {
		t.Errorf("two calls of one connection have connections %v and %v", a, b)
	}
	if peer, _ := authn.PeerFromContext(second); peer == nil || peer.Identity.String() != nodeID {
		t.Errorf("the second call is of %v", peer)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(nil); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a connection that was cut ends with %v", err)
	}
	<-first.Done()
}

func TestTunnelRefusesAgent(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	failed := newFailures()
	proxy := startProxy(t, files(t, authn.Server, proxyLeaf(t, ca), ca), failed)
	stranger := newCA(t, pki.CAConfig{TrustDomain: domain})
	source := files(t, authn.Client, agentLeaf(t, stranger), ca)
	_, stream, err := call(t, proxy.addr, authn.TunnelClientCredentials(source, spiffeid.RequireFromString(prxyID)))
	if err == nil {
		err = stream.RecvMsg(nil)
	}
	if err == nil {
		t.Error("an agent of another CA was let in")
	}
	if got := failed.next(t); authn.ReasonOf(got) != authn.UnknownAuthority {
		t.Errorf("reported %v", got)
	}
	if len(proxy.calls) > 0 {
		t.Error("a call reached the proxy")
	}
}

func TestTunnelServerRefusesOtherConnections(t *testing.T) {
	t.Parallel()
	listener := listen(t)
	server := grpc.NewServer(grpc.Creds(authn.TunnelServerCredentials()), grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		t.Error("a call came through without a handshake")
		return nil
	}))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { server.Stop(); <-served }()
	_, stream, err := call(t, listener.Addr().String(), insecure.NewCredentials())
	if err == nil {
		err = stream.RecvMsg(nil)
	}
	if err == nil {
		t.Error("plaintext was served")
	}
}

// impostor is a TLS server with any certificate at all. It counts what it learns
// of its clients.
type impostor struct {
	addr    string
	learned atomic.Int32
	ended   chan error
}

func startImpostor(t *testing.T, pair tls.Certificate) *impostor {
	t.Helper()
	i := &impostor{ended: make(chan error, 16)}
	cfg := &tls.Config{
		Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}, ClientAuth: tls.RequestClientCert,
		VerifyPeerCertificate: func(certs [][]byte, _ [][]*x509.Certificate) error {
			i.learned.Add(int32(len(certs)))
			return nil
		},
	}
	inner := listen(t)
	i.addr = inner.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := inner.Accept()
			if err != nil {
				return
			}
			secure := tls.Server(conn, cfg)
			_ = secure.SetDeadline(time.Now().Add(patience))
			err = secure.Handshake()
			if err == nil {
				n, _ := secure.Read(make([]byte, 1))
				i.learned.Add(int32(n))
			}
			_ = conn.Close()
			i.ended <- err
		}
	}()
	t.Cleanup(func() { _ = inner.Close(); <-done })
	return i
}

// borrowed is a certificate with somebody else's key.
func borrowed(certificate, key *pki.Leaf) tls.Certificate {
	pair := certificate.TLS()
	pair.PrivateKey = key.Key()
	return pair
}

func TestCertificateWithoutItsKey(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	listener := authn.ListenTunnel(listen(t), files(t, authn.Server, proxyLeaf(t, ca), ca), authn.ListenConfig{})
	peers := serve(t, listener)
	if _, err := dial(listener.Addr(), stranger("h2", borrowed(agentLeaf(t, ca), agentLeaf(t, ca)))); err == nil {
		t.Error("an agent was let in")
	}
	if len(peers) > 0 {
		t.Errorf("it was taken for %v", <-peers)
	}
	i := startImpostor(t, borrowed(proxyLeaf(t, ca), agentLeaf(t, ca)))
	source := files(t, authn.Client, agentLeaf(t, ca), ca)
	if _, _, err := call(t, i.addr, authn.TunnelClientCredentials(source, spiffeid.RequireFromString(prxyID))); err == nil {
		t.Error("a proxy was believed")
	}
	if err := <-i.ended; err == nil || i.learned.Load() != 0 {
		t.Errorf("the impostor learned %d things, handshake: %v", i.learned.Load(), err)
	}
}

func TestAgentTellsNothingToAnImpostor(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	other := newCA(t, pki.CAConfig{TrustDomain: domain})
	partner := newCA(t, pki.CAConfig{TrustDomain: "partner.example"})
	source := files(t, authn.Client, agentLeaf(t, ca), ca)
	want := spiffeid.RequireFromString(prxyID)
	local := []string{"localhost"}
	for _, test := range []struct {
		name  string
		leaf  *pki.Leaf
		proxy spiffeid.ID
		cause string
	}{
		{"another ID", issue(t, ca, pki.Request{Role: pki.Proxy, SPIFFEID: "spiffe://example.org/proxy2", DNSNames: local}), want, "expected"},
		{"an agent's certificate", issue(t, ca, pki.Request{Role: pki.Agent, SPIFFEID: prxyID, DNSNames: local}), want, "serverAuth"},
		{"another CA", issue(t, other, pki.Request{Role: pki.Proxy, SPIFFEID: prxyID, DNSNames: local}), want, "unknown authority"},
		{"another domain", issue(t, partner, pki.Request{Role: pki.Proxy, SPIFFEID: "spiffe://partner.example/proxy"}), want, "not accepted"},
		{"DNS name only", issue(t, ca, pki.Request{Role: pki.Proxy, DNSNames: local}), want, "expected"},
		{"a root path", issue(t, ca, pki.Request{Role: pki.Proxy, SPIFFEID: prxyID, Template: setURIs("spiffe://example.org")}), want, "trust domain"},
		{"another DNS name", issue(t, ca, pki.Request{Role: pki.Proxy, DNSNames: []string{"elsewhere"}}), spiffeid.ID{}, "elsewhere"},
		{"a DNS name of another CA", issue(t, other, pki.Request{Role: pki.Proxy, DNSNames: local}), spiffeid.ID{}, "unknown authority"},
		{"the DNS name in an agent's certificate", issue(t, ca, pki.Request{Role: pki.Agent, DNSNames: local}), spiffeid.ID{}, "serverAuth"},
		{"an expired one", issue(t, ca, pki.Request{
			Role: pki.Proxy, SPIFFEID: prxyID, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		}), want, "expired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := startImpostor(t, test.leaf.TLS())
			_, port, _ := net.SplitHostPort(i.addr)
			_, _, err := call(t, "localhost:"+port, authn.TunnelClientCredentials(source, test.proxy))
			if err == nil {
				t.Fatal("the agent went on")
			}
			if text := status.Convert(err).Message(); !strings.Contains(text, test.cause) {
				t.Errorf("the agent says %q, want it to name %q", text, test.cause)
			}
			if err := <-i.ended; err == nil || i.learned.Load() != 0 {
				t.Errorf("the impostor learned %d things, handshake: %v", i.learned.Load(), err)
			}
		})
	}
}

func TestAgentVerifiesHostName(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	several := []string{"elsewhere", "localhost", "proxy.example.org"}
	for name, leaf := range map[string]*pki.Leaf{
		"several names":         issue(t, ca, pki.Request{Role: pki.Proxy, DNSNames: several, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}),
		"with a SPIFFE ID":      proxyLeaf(t, ca),
		"below an intermediate": proxyLeaf(t, intermediate(t, ca)),
	} {
		cfg := put(t, t.TempDir(), leaf, ca)
		cfg.TrustDomains = authn.TrustDomains{spiffeid.RequireTrustDomainFromString(domain)}
		source, err := authn.NewFiles(cfg, authn.Server, discard())
		if err != nil {
			t.Fatal(err)
		}
		proxy := startProxy(t, source, newFailures())
		_, port, _ := net.SplitHostPort(proxy.addr)
		for _, host := range []string{"localhost", "127.0.0.1"} {
			creds := authn.TunnelClientCredentials(files(t, authn.Client, agentLeaf(t, ca), ca), spiffeid.ID{})
			_, stream, err := call(t, net.JoinHostPort(host, port), creds)
			if err != nil {
				t.Errorf("%s, %s: %v", name, host, err)
				continue
			}
			if peer, ok := authn.PeerFromContext(stream.Context()); !ok || peer.Identity.String() != host {
				t.Errorf("%s, %s: the agent sees %v", name, host, peer)
			}
		}
	}
}

func intermediate(t *testing.T, ca *pki.CA) *pki.CA {
	t.Helper()
	sub, err := ca.Intermediate(pki.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func TestHandshakesUseWhatIsThere(t *testing.T) {
	t.Parallel()
	ca, next := newCA(t, pki.CAConfig{TrustDomain: domain}), newCA(t, pki.CAConfig{TrustDomain: domain})
	cfg := put(t, t.TempDir(), proxyLeaf(t, ca), ca)
	source, err := authn.NewFiles(cfg, authn.Server, discard())
	if err != nil {
		t.Fatal(err)
	}
	run(t, source)
	failed := newFailures()
	proxy := startProxy(t, source, failed)
	id := spiffeid.RequireFromString(prxyID)
	old := authn.TunnelClientCredentials(files(t, authn.Client, agentLeaf(t, ca), ca), id)
	if _, _, err := call(t, proxy.addr, old); err != nil {
		t.Fatal(err)
	}
	changed := source.Changed()
	// The CA's key is new, and with it all certificates.
	write(t, cfg.CAFile, next.CertPEM(), 0o600)
	leaf := proxyLeaf(t, next)
	write(t, cfg.CertFile, leaf.CertPEM(), 0o600)
	write(t, cfg.KeyFile, keyPEM(t, leaf), 0o600)
	<-changed
	until(t, source, "new certificate", func(m *authn.Material, _ error) bool { return m.Certificate.Leaf.Equal(leaf.Certificate()) })
	if _, _, err := call(t, proxy.addr, authn.TunnelClientCredentials(files(t, authn.Client, agentLeaf(t, next), next), id)); err != nil {
		t.Errorf("after the change: %v", err)
	}
	if _, _, err := call(t, proxy.addr, authn.TunnelClientCredentials(files(t, authn.Client, agentLeaf(t, ca), next), id)); err == nil {
		if got := failed.next(t); authn.ReasonOf(got) != authn.UnknownAuthority {
			t.Errorf("an agent of the CA that is gone: %v", got)
		}
	}
}

func TestCredentialsHaveOneSide(t *testing.T) {
	server, client := authn.TunnelServerCredentials(), authn.TunnelClientCredentials(empty{}, spiffeid.ID{})
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, _, err := server.ClientHandshake(t.Context(), "a", a); err == nil {
		t.Error("server credentials shake hands as a client")
	}
	if _, _, err := client.ServerHandshake(a); err == nil {
		t.Error("client credentials shake hands as a server")
	}
	if _, _, err := client.ClientHandshake(t.Context(), "a", a); authn.ReasonOf(err) != authn.NoMaterial {
		t.Errorf("without material: %v", err)
	}
	for _, creds := range []credentials.TransportCredentials{server, client} {
		if creds.Clone() != creds || creds.Info().SecurityProtocol != "tls" {
			t.Errorf("%T misbehaves", creds)
		}
	}
}

func TestCancelledHandshake(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	creds := authn.TunnelClientCredentials(files(t, authn.Client, agentLeaf(t, ca), ca), spiffeid.RequireFromString(prxyID))
	a, b := net.Pipe()
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := creds.ClientHandshake(ctx, "a", a); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
