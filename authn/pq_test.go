package authn_test

import (
	"crypto/fips140"
	"crypto/tls"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

func pqFiles(t *testing.T, role authn.Role, leaf *pki.Leaf, ca *pki.CA) *authn.Files {
	t.Helper()
	cfg := put(t, t.TempDir(), leaf, ca)
	cfg.RequirePQ = true
	source, err := authn.NewFiles(cfg, role, discard())
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func TestTunnelIsPostQuantum(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	for name, source := range map[string]func(*testing.T, authn.Role, *pki.Leaf, *pki.CA) *authn.Files{
		"by default": func(t *testing.T, role authn.Role, leaf *pki.Leaf, ca *pki.CA) *authn.Files {
			return files(t, role, leaf, ca)
		},
		"as required": pqFiles,
	} {
		proxy := startProxy(t, source(t, authn.Server, proxyLeaf(t, ca), ca), newFailures())
		_, stream, err := call(t, proxy.addr, authn.TunnelClientCredentials(source(t, authn.Client, agentLeaf(t, ca), ca), spiffeid.RequireFromString(prxyID)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		agent, _ := authn.PeerFromContext(<-proxy.calls)
		server, _ := authn.PeerFromContext(stream.Context())
		for side, peer := range map[string]*authn.Peer{"proxy": agent, "agent": server} {
			if peer.Group != tls.X25519MLKEM768 || peer.GroupName() != "X25519MLKEM768" || peer.SuiteName() != tls.CipherSuiteName(peer.Suite) || peer.Suite == 0 {
				t.Errorf("%s: the %s has group %s, suite %s", name, side, peer.GroupName(), peer.SuiteName())
			}
		}
	}
}

func TestRequirePQRefusesClassicalGroups(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	source := pqFiles(t, authn.Server, proxyLeaf(t, ca), ca)
	own := newCA(t, pki.CAConfig{TrustDomain: domain})
	cfg := scrapeFiles(t, webLeaf(t, own), ca)
	scrape, err := authn.NewScrape(source, cfg, discard())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		protocol string
		listen   func(authn.ListenConfig) *authn.Listener
	}{
		"tunnel":            {"h2", func(cfg authn.ListenConfig) *authn.Listener { return authn.ListenTunnel(listen(t), source, cfg) }},
		"scrape":            {"http/1.1", func(cfg authn.ListenConfig) *authn.Listener { return authn.ListenHTTPS(listen(t), source, cfg) }},
		"scrape of its own": {"http/1.1", func(cfg authn.ListenConfig) *authn.Listener { return authn.ListenHTTPS(listen(t), scrape, cfg) }},
	} {
		failed := newFailures()
		listener := test.listen(authn.ListenConfig{Failed: failed.hear})
		peers := serve(t, listener)
		client := func(version uint16, groups ...tls.CurveID) *tls.Config {
			cfg := stranger(test.protocol, agentLeaf(t, ca).TLS())
			cfg.MaxVersion, cfg.CurvePreferences = version, groups
			return cfg
		}
		classical := []*tls.Config{client(tls.VersionTLS13, tls.CurveP256, tls.CurveP384), client(tls.VersionTLS12)}
		if !fips140.Enabled() { // Then a client of Go has no such group.
			classical = append(classical, client(tls.VersionTLS13, tls.X25519))
		}
		for _, cfg := range classical {
			if _, err := dial(listener.Addr(), cfg); err == nil {
				t.Errorf("%s: %v was let in", name, cfg.CurvePreferences)
			} else if got := failed.next(t); authn.ReasonOf(got) != authn.ClassicalGroup {
				t.Errorf("%s: %v: %v", name, cfg.CurvePreferences, got)
			}
		}
		for _, group := range []tls.CurveID{tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024} {
			state, err := dial(listener.Addr(), client(tls.VersionTLS13, group, tls.X25519))
			if err != nil || state.CurveID != group {
				t.Fatalf("%s: %v: group %v, %v", name, group, state.CurveID, err)
			}
			if peer := <-peers; peer.Group != group {
				t.Errorf("%s: peer has group %s, want %v", name, peer.GroupName(), group)
			}
		}
	}
}

func TestAgentRefusesAClassicalProxy(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	pair := proxyLeaf(t, ca).TLS()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}, CurvePreferences: []tls.CurveID{tls.CurveP256},
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-served
	})
	inner, err := dialTCP(listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	credentials := authn.TunnelClientCredentials(pqFiles(t, authn.Client, agentLeaf(t, ca), ca), spiffeid.RequireFromString(prxyID))
	if _, _, err := credentials.ClientHandshake(t.Context(), "localhost", inner); authn.ReasonOf(err) != authn.ClassicalGroup {
		t.Errorf("%v, %s", err, authn.ReasonOf(err))
	}
}
