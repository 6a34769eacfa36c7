package authn_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

// pipes is a listener whose connections live in fake time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.IPAddr{} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// scraper scrapes over connections that it keeps. Its certificate is what it has
// at the moment of a handshake.
type scraper struct {
	client     *http.Client
	failed     failures
	mu         sync.Mutex
	leaf       *pki.Leaf
	handshakes int
}

func (p *scraper) renew(leaf *pki.Leaf) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaf = leaf
}

func (p *scraper) pair(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handshakes++
	pair := p.leaf.TLS()
	return &pair, nil
}

func (p *scraper) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handshakes
}

func (p *scraper) get() (string, error) {
	response, err := p.client.Get("https://localhost")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// startHTTPS serves as a proxy should: it ends a connection whose peer has lapsed.
func startHTTPS(t *testing.T, source authn.Source, ca *pki.CA, leaf *pki.Leaf) *scraper {
	t.Helper()
	inner := newPipes()
	p := &scraper{failed: newFailures(), leaf: leaf}
	listener := authn.ListenHTTPS(inner, source, authn.ListenConfig{Auth: authn.OptionalClient, Failed: p.failed.hear})
	server := &http.Server{
		ConnContext: authn.ConnContext,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			peer, ok := authn.PeerFromContext(r.Context())
			if err := authn.Lapsed(r.Context()); err != nil {
				if ok {
					t.Errorf("%v has lapsed (%v), and is there", peer.Identity, err)
				}
				p.failed <- err
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(w, peer.Identity.String())
		}),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	transport := &http.Transport{DialContext: inner.dial, TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), GetClientCertificate: p.pair}}
	p.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		synctest.Wait()
	})
	return p
}

func (p *scraper) expect(t *testing.T, what string, connections int) {
	t.Helper()
	if body, err := p.get(); err != nil || body != nodeID {
		t.Errorf("%s: %q, %v", what, body, err)
	}
	if got := p.connections(); got != connections {
		t.Errorf("%s: %d connections so far, want %d", what, got, connections)
	}
}

func TestScrapersCertificateEndsOnAnOpenConnection(t *testing.T) {
	t.Parallel()
	proxyInTime(t, func(t *testing.T, ca *pki.CA, _ authn.Config, source *authn.Files) {
		minute := pki.Request{Role: pki.Scraper, SPIFFEID: nodeID, NotAfter: time.Now().Add(time.Minute)}
		p := startHTTPS(t, source, ca, issue(t, ca, minute))
		p.expect(t, "first", 1)
		time.Sleep(time.Minute - time.Nanosecond)
		p.expect(t, "just before its end", 1)
		// It has a new certificate, but the connection is of the old one.
		p.renew(agentLeaf(t, ca))
		time.Sleep(time.Nanosecond)
		p.expect(t, "after its end", 2)
		if err := p.failed.next(t); authn.ReasonOf(err) != authn.Expired {
			t.Errorf("lapsed: %v", err)
		}
		p.expect(t, "then", 2)
	})
}

func TestScraperIsRevokedOnAnOpenConnection(t *testing.T) {
	t.Parallel()
	crlsInTime(t, func(t *testing.T, file string, ca *pki.CA, source *authn.Files, _ *book) {
		leaf := issue(t, ca, pki.Request{Role: pki.Scraper, SPIFFEID: nodeID})
		p := startHTTPS(t, source, ca, leaf)
		p.expect(t, "first", 1)
		write(t, file, newCRL(t, ca, time.Now(), time.Now().Add(time.Hour), gone), 0o600)
		polled(1)
		p.expect(t, "another is revoked", 1)
		write(t, file, newCRL(t, ca, time.Now(), time.Now().Add(time.Hour), leaf.Certificate().SerialNumber), 0o600)
		polled(1)
		if body, err := p.get(); err == nil {
			t.Errorf("it is revoked, and gets %q", body)
		}
		// On the open connection and in the handshake after.
		for range 2 {
			if err := p.failed.next(t); authn.ReasonOf(err) != authn.Revoked {
				t.Errorf("refused for %v", err)
			}
		}
	})
}

// The proxy's own certificate and that of a scraper have nothing to do with each
// other: while ours has expired, an open connection lives, and ends when its CA goes.
func TestScraperWhileOurCertificateHasExpired(t *testing.T) {
	t.Parallel()
	proxyInTime(t, func(t *testing.T, ca *pki.CA, cfg authn.Config, source *authn.Files) {
		p := startHTTPS(t, source, ca, agentLeaf(t, ca))
		put(t, filepath.Dir(cfg.CertFile), issue(t, ca, pki.Request{Role: pki.Proxy, SPIFFEID: prxyID, DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Minute)}), ca)
		polled(1)
		p.expect(t, "first", 1)
		time.Sleep(2 * time.Minute)
		if _, err := source.Material(); err == nil {
			t.Error("has not expired")
		}
		p.expect(t, "ours has expired", 1)
		write(t, cfg.CAFile, newCA(t, pki.CAConfig{TrustDomain: domain}).CertPEM(), 0o600)
		polled(1)
		if body, err := p.get(); err == nil {
			t.Errorf("its authority is gone, and it gets %q", body)
		}
		if err := p.failed.next(t); authn.ReasonOf(err) != authn.UnknownAuthority {
			t.Errorf("lapsed: %v", err)
		}
	})
}

func TestNobodyLapses(t *testing.T) {
	if err := authn.Lapsed(t.Context()); err != nil {
		t.Errorf("a context of no connection: %v", err)
	}
}
