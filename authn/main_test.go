package authn_test

import (
	"context"
	"crypto/fips140"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	domain = "example.org"
	nodeID = "spiffe://example.org/team-a/node"
	prxyID = "spiffe://example.org/proxy"
)

// patience is how long a test waits for what must come at once.
const patience = 20 * time.Second

func newCA(t testing.TB, cfg pki.CAConfig) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t testing.TB, ca *pki.CA, req pki.Request) *pki.Leaf {
	t.Helper()
	leaf, err := ca.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func agentLeaf(t testing.TB, ca *pki.CA) *pki.Leaf {
	return issue(t, ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID})
}

func proxyLeaf(t testing.TB, ca *pki.CA) *pki.Leaf {
	return issue(t, ca, pki.Request{
		Role: pki.Proxy, SPIFFEID: prxyID, DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
}

// write puts a file into place as a careful tool does: whole or not at all.
func write(t testing.TB, path string, text []byte, mode os.FileMode) {
	t.Helper()
	temporary := path + ".new"
	if err := os.WriteFile(temporary, text, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(temporary, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, path); err != nil {
		t.Fatal(err)
	}
}

func keyPEM(t testing.TB, leaf *pki.Leaf) []byte {
	t.Helper()
	key, err := leaf.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// put writes leaf and anchors into dir and returns the configuration for them.
func put(t testing.TB, dir string, leaf *pki.Leaf, anchors ...*pki.CA) authn.Config {
	t.Helper()
	cfg := authn.Config{
		CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), CAFile: filepath.Join(dir, "ca.pem"),
	}
	write(t, cfg.CertFile, leaf.CertPEM(), 0o600)
	write(t, cfg.KeyFile, keyPEM(t, leaf), 0o600)
	var text []byte
	for _, ca := range anchors {
		text = append(text, ca.CertPEM()...)
	}
	write(t, cfg.CAFile, text, 0o600)
	return cfg
}

func files(t testing.TB, role authn.Role, leaf *pki.Leaf, anchors ...*pki.CA) *authn.Files {
	t.Helper()
	source, err := authn.NewFiles(put(t, t.TempDir(), leaf, anchors...), role, discard())
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func material(t testing.TB, source authn.Source) *authn.Material {
	t.Helper()
	m, err := source.Material()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// run runs a keeper for the rest of the test.
func run(t testing.TB, keeper authn.Keeper) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- keeper.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// until waits for a state of a source that satisfies ok.
func until(t testing.TB, source authn.Source, what string, ok func(*authn.Material, error) bool) *authn.Material {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		changed := source.Changed()
		m, err := source.Material()
		if ok(m, err) {
			return m
		}
		select {
		case <-changed:
		case <-timeout.C:
			t.Fatalf("no %s; material %v, error %v", what, m, err)
		}
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return inner
}

// failures collects what a listener reports.
type failures chan error

func newFailures() failures { return make(failures, 1024) }

func (f failures) hear(_ net.Addr, err error) { f <- err }

func (f failures) next(t testing.TB) error {
	t.Helper()
	select {
	case err := <-f:
		return err
	case <-time.After(patience):
		t.Fatal("no failure was reported")
		return nil
	}
}

// serve echoes on every connection of the listener until the test ends, and
// sends who was there.
func serve(t testing.TB, listener *authn.Listener) <-chan *authn.Peer {
	t.Helper()
	peers := make(chan *authn.Peer, 1024)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("Accept: %v", err)
				}
				return
			}
			peer, _ := authn.PeerFromContext(authn.ConnContext(context.Background(), conn))
			peers <- peer
			_, _ = io.CopyN(conn, conn, 1)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return peers
}

// dial shakes hands and waits until the server has taken the client or not: in
// TLS 1.3 a client learns that it was refused only when it reads.
func dial(addr net.Addr, cfg *tls.Config) (tls.ConnectionState, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr.String(), cfg)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte{1}); err != nil {
		return conn.ConnectionState(), err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return conn.ConnectionState(), err
}

// stranger is a client that does as it likes.
func stranger(protocol string, pair ...tls.Certificate) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}, Certificates: pair}
}

func chainOf(t testing.TB, leaf *pki.Leaf) []*x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	for _, raw := range leaf.TLS().Certificate {
		cert, err := x509.ParseCertificate(raw)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, cert)
	}
	return chain
}

func dialTCP(addr net.Addr) (net.Conn, error) {
	return (&net.Dialer{Timeout: patience}).Dial("tcp", addr.String())
}

// bubble runs a test with a clock of its own.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if fips140.Enabled() {
		t.Skip("Go's source of entropy for FIPS 140 needs a clock that runs, and this test stops it")
	}
	synctest.Test(t, test)
}
