package authn_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

func TestClientAuth(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	good := agentLeaf(t, ca).TLS()
	bad := agentLeaf(t, newCA(t, pki.CAConfig{TrustDomain: domain})).TLS()
	source := files(t, authn.Server, proxyLeaf(t, ca), ca)
	for _, test := range []struct {
		name           string
		auth           authn.ClientAuth
		none, bad      authn.Reason // "": let in
		peerOfGoodOnes bool
	}{
		{"require", authn.RequireClient, authn.NoCertificate, authn.UnknownAuthority, true},
		{"optional", authn.OptionalClient, "", authn.UnknownAuthority, true},
		{"none", authn.NoClient, "", "", false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(test.name+tls.VersionName(version), func(t *testing.T) {
				failed := newFailures()
				listener := authn.ListenHTTPS(listen(t), source, authn.ListenConfig{Auth: test.auth, Failed: failed.hear})
				peers := serve(t, listener)
				try := func(what string, want authn.Reason, wantPeer bool, pair ...tls.Certificate) {
					t.Helper()
					cfg := stranger("http/1.1", pair...)
					cfg.MinVersion, cfg.MaxVersion = version, version
					_, err := dial(listener.Addr(), cfg)
					if want != "" {
						if err == nil {
							t.Errorf("%s certificate was let in", what)
						} else if got := authn.ReasonOf(failed.next(t)); got != want {
							t.Errorf("%s certificate: %s, want %s", what, got, want)
						}
						return
					}
					if err != nil {
						t.Fatalf("%s certificate: %v", what, err)
					}
					if peer := <-peers; (peer != nil) != wantPeer {
						t.Errorf("%s certificate gives peer %v", what, peer)
					}
				}
				try("no", test.none, false)
				try("bad", test.bad, false, bad)
				try("good", "", test.peerOfGoodOnes, good)
			})
		}
	}
}

// countingCache would keep every ticket it is given.
type countingCache struct {
	tls.ClientSessionCache
	tickets atomic.Int32
}

func (c *countingCache) Put(key string, state *tls.ClientSessionState) {
	if state != nil {
		c.tickets.Add(1)
	}
	c.ClientSessionCache.Put(key, state)
}

func TestNoResumption(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	source := files(t, authn.Server, proxyLeaf(t, ca), ca)
	for protocol, listener := range map[string]*authn.Listener{
		"h2":       authn.ListenTunnel(listen(t), source, authn.ListenConfig{}),
		"http/1.1": authn.ListenHTTPS(listen(t), source, authn.ListenConfig{}),
	} {
		serve(t, listener)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			if protocol == "h2" && version == tls.VersionTLS12 {
				continue
			}
			cache := &countingCache{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
			cfg := stranger(protocol, agentLeaf(t, ca).TLS())
			cfg.ClientSessionCache, cfg.MinVersion, cfg.MaxVersion = cache, version, version
			for range 3 {
				state, err := dial(listener.Addr(), cfg)
				if err != nil {
					t.Fatalf("%s, %s: %v", protocol, tls.VersionName(version), err)
				}
				if state.DidResume {
					t.Errorf("%s, %s: resumed", protocol, tls.VersionName(version))
				}
			}
			if n := cache.tickets.Load(); n != 0 {
				t.Errorf("%s, %s: %d tickets", protocol, tls.VersionName(version), n)
			}
		}
	}
}

func TestTunnelSpeaksOnlyHTTP2OverTLS13(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	pair := agentLeaf(t, ca).TLS()
	failed := newFailures()
	listener := authn.ListenTunnel(listen(t), files(t, authn.Server, proxyLeaf(t, ca), ca), authn.ListenConfig{
		Auth: authn.NoClient, Failed: failed.hear, // NoClient has no effect on a tunnel
	})
	serve(t, listener)
	old := stranger("h2", pair)
	old.MaxVersion = tls.VersionTLS12
	if state, err := dial(listener.Addr(), stranger("h2", pair)); err != nil || state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 {
		t.Errorf("%v, %s, group %v", err, tls.VersionName(state.Version), state.CurveID)
	}
	silent := stranger("h2", pair)
	silent.NextProtos = nil
	for name, cfg := range map[string]*tls.Config{"TLS 1.2": old, "http/1.1": stranger("http/1.1", pair), "no ALPN": silent} {
		if _, err := dial(listener.Addr(), cfg); err == nil {
			t.Errorf("%s was let in", name)
		} else if got := failed.next(t); authn.ReasonOf(got) != authn.Protocol {
			t.Errorf("%s: %v", name, got)
		}
	}
	if _, err := dial(listener.Addr(), stranger("h2")); err == nil {
		t.Error("no certificate was let in")
	} else if got := failed.next(t); authn.ReasonOf(got) != authn.NoCertificate {
		t.Errorf("no certificate: %v", got)
	}
}

func TestPlaintextAndSilence(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	failed := newFailures()
	listener := authn.ListenHTTPS(listen(t), files(t, authn.Server, proxyLeaf(t, ca), ca), authn.ListenConfig{
		HandshakeTimeout: 500 * time.Millisecond, Failed: failed.hear,
	})
	serve(t, listener)
	for _, test := range []struct {
		say  string
		want authn.Reason
	}{
		{"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", authn.PlainHTTP},
		{"SSH-2.0-OpenSSH_9.9\r\n", authn.Protocol},
		{"", authn.Timeout},
		{"\x16\x03\x01", authn.Timeout},
	} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, test.say); err != nil {
			t.Fatal(err)
		}
		if got := failed.next(t); authn.ReasonOf(got) != test.want {
			t.Errorf("%q: %v, want %s", test.say, got, test.want)
		}
		if _, err := io.ReadAll(conn); err != nil && !errors.Is(err, net.ErrClosed) {
			var op *net.OpError
			if !errors.As(err, &op) {
				t.Errorf("%q: %v", test.say, err)
			}
		}
		_ = conn.Close()
	}
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if got := failed.next(t); authn.ReasonOf(got) != authn.Disconnected {
		t.Errorf("hanging up: %v", got)
	}
}

func TestDeadlineEndsWithTheHandshake(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	const timeout = time.Second
	listener := authn.ListenHTTPS(listen(t), files(t, authn.Server, proxyLeaf(t, ca), ca), authn.ListenConfig{HandshakeTimeout: timeout})
	serve(t, listener)
	conn, err := tls.Dial("tcp", listener.Addr().String(), stranger("http/1.1", agentLeaf(t, ca).TLS()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The only way to see that nothing happens is to wait for it.
	<-time.After(timeout + timeout/4)
	if _, err := conn.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Errorf("cut after the handshake's deadline: %v", err)
	}
}

// More good clients than there is room for wait: none is dropped for another.
func TestHerdIsLetIn(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	failed := newFailures()
	listener := authn.ListenTunnel(listen(t), files(t, authn.Server, proxyLeaf(t, ca), ca), authn.ListenConfig{
		MaxHandshakes: 2, Failed: failed.hear,
	})
	serve(t, listener)
	client := stranger("h2", agentLeaf(t, ca).TLS())
	var herd sync.WaitGroup
	for range 40 {
		herd.Go(func() {
			if _, err := dial(listener.Addr(), client); err != nil {
				t.Errorf("turned away: %v", err)
			}
		})
	}
	herd.Wait()
	if len(failed) > 0 {
		t.Errorf("dropped: %v", <-failed)
	}
}

// A client that sends a byte now and then keeps nobody out.
func TestTricklingHandshakeMakesRoom(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	failed := newFailures()
	listener := authn.ListenTunnel(listen(t), files(t, authn.Server, proxyLeaf(t, ca), ca), authn.ListenConfig{
		MaxHandshakes: 1, HandshakeTimeout: time.Hour, Failed: failed.hear,
	})
	serve(t, listener)
	slow, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	trickle := time.NewTicker(20 * time.Millisecond)
	defer trickle.Stop()
	record := append([]byte{0x16, 3, 1, 0x40, 0}, make([]byte, 1<<14)...)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			if _, err := slow.Write(record[i : i+1]); err != nil {
				return
			}
			<-trickle.C
		}
	}()
	if _, err := dial(listener.Addr(), stranger("h2", agentLeaf(t, ca).TLS())); err != nil {
		t.Errorf("a good client finds no room: %v", err)
	}
	if got := failed.next(t); authn.ReasonOf(got) != authn.Overload {
		t.Errorf("dropped for %v", got)
	}
	<-ended
}

func TestOldestHandshakeMakesRoom(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	failed := newFailures()
	listener := authn.ListenHTTPS(listen(t), files(t, authn.Server, proxyLeaf(t, ca), ca), authn.ListenConfig{
		MaxHandshakes: 3, HandshakeTimeout: time.Hour, Failed: failed.hear,
	})
	serve(t, listener)
	var idle []net.Conn
	for range 10 {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	for range 7 {
		if got := failed.next(t); authn.ReasonOf(got) != authn.Overload {
			t.Errorf("dropped for %v", got)
		}
	}
	for i, conn := range idle[:7] {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connection %d, one of the oldest, is open: %v", i, err)
		}
	}
	if _, err := dial(listener.Addr(), stranger("http/1.1", agentLeaf(t, ca).TLS())); err != nil {
		t.Errorf("a good client finds no room: %v", err)
	}
}

func TestCloseDropsHandshakes(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	failed := newFailures()
	listener := authn.ListenHTTPS(listen(t), files(t, authn.Server, proxyLeaf(t, ca), ca), authn.ListenConfig{HandshakeTimeout: time.Hour, Failed: failed.hear})
	peers := serve(t, listener)
	if _, err := dial(listener.Addr(), stranger("http/1.1", agentLeaf(t, ca).TLS())); err != nil {
		t.Fatal(err)
	}
	<-peers
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := listener.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	var timeout net.Error
	if _, err := conn.Read(make([]byte, 1)); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("a connection in its handshake outlives the listener")
	}
	if len(failed) > 0 {
		t.Errorf("Close blames the client: %v", <-failed)
	}
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close again: %v", err)
	}
	if err := authn.ListenHTTPS(listen(t), nil, authn.ListenConfig{}).Close(); err != nil {
		t.Errorf("Close before Accept: %v", err)
	}
}

// flaky fails now and then, as a listener does that is out of files.
type flaky struct {
	net.Listener
	errs chan error
}

type passing struct{ error }

func (passing) Temporary() bool { return true }
func (passing) Timeout() bool   { return false }

func (f flaky) Accept() (net.Conn, error) {
	select {
	case err := <-f.errs:
		return nil, err
	default:
		return f.Listener.Accept()
	}
}

func TestAcceptErrors(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	inner := flaky{listen(t), make(chan error, 1)}
	inner.errs <- passing{errors.New("too many open files")}
	listener := authn.ListenHTTPS(inner, files(t, authn.Server, proxyLeaf(t, ca), ca), authn.ListenConfig{})
	if _, err := listener.Accept(); err == nil {
		t.Fatal("no error")
	}
	serve(t, listener)
	if _, err := dial(listener.Addr(), stranger("http/1.1", agentLeaf(t, ca).TLS())); err != nil {
		t.Errorf("after a passing error: %v", err)
	}
}

// empty is a source that has nothing yet.
type empty struct{}

func (empty) Material() (*authn.Material, error) { return nil, errors.New("nothing yet") }
func (empty) Changed() <-chan struct{}           { return make(chan struct{}) }

func TestNoMaterialNoHandshake(t *testing.T) {
	t.Parallel()
	failed := newFailures()
	listener := authn.ListenHTTPS(listen(t), empty{}, authn.ListenConfig{Failed: failed.hear})
	serve(t, listener)
	if _, err := dial(listener.Addr(), stranger("http/1.1")); err == nil {
		t.Error("shook hands without a certificate")
	}
	if got := failed.next(t); authn.ReasonOf(got) != authn.NoMaterial {
		t.Errorf("reported %v", got)
	}
}

func TestPeerOfAnHTTPRequest(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	source := files(t, authn.Server, proxyLeaf(t, ca), ca)
	for _, auth := range []authn.ClientAuth{authn.RequireClient, authn.OptionalClient} {
		server := &http.Server{
			ConnContext:       authn.ConnContext,
			ReadHeaderTimeout: patience,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				peer, ok := authn.PeerFromContext(r.Context())
				conn, connOK := authn.ConnFromContext(r.Context())
				if !connOK || conn == nil || r.TLS == nil || r.ProtoMajor != 1 {
					t.Errorf("connection %v, TLS %v, %s", conn, r.TLS, r.Proto)
				}
				if ok {
					_, _ = io.WriteString(w, peer.Identity.String())
				}
			}),
		}
		listener := authn.ListenHTTPS(listen(t), source, authn.ListenConfig{Auth: auth})
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		get := func(pair ...tls.Certificate) (string, error) {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: pair}, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			response, err := (&http.Client{Transport: transport}).Get("https://" + listener.Addr().String())
			if err != nil {
				return "", err
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			return string(body), err
		}
		if body, err := get(agentLeaf(t, ca).TLS()); body != nodeID || err != nil {
			t.Errorf("peer is %q, %v", body, err)
		}
		if body, err := get(); body != "" || (err == nil) != (auth == authn.OptionalClient) {
			t.Errorf("without a certificate peer is %q, %v", body, err)
		}
		_ = server.Close()
		<-served
	}
	if peer, ok := authn.PeerFromContext(t.Context()); ok || peer != nil {
		t.Errorf("a context of no connection has peer %v", peer)
	}
	if conn, ok := authn.ConnFromContext(t.Context()); ok {
		t.Errorf("a context of no connection has %v", conn)
	}
}
