package authn_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

// countingListener counts the writes of its connections.
type countingListener struct {
	net.Listener
	writes atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countingConn{conn, &l.writes}, err
}

type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func TestHeldWritesArriveTogether(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	counting := &countingListener{Listener: listen(t)}
	listener := authn.ListenHTTPS(counting, files(t, authn.Server, proxyLeaf(t, ca), ca), authn.ListenConfig{})
	t.Cleanup(func() { _ = listener.Close() })
	client, err := dialTCP(listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	reader := tls.Client(client, stranger("http/1.1", agentLeaf(t, ca).TLS()))
	defer reader.Close()
	shaken := make(chan error, 1)
	go func() { shaken <- reader.Handshake() }()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	under := conn.(*tls.Conn).NetConn().(*authn.Conn)

	sent := make([]byte, 1<<20)
	_, _ = rand.Read(sent)
	var arrived bytes.Buffer
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(&arrived, reader, int64(len(sent)))
		done <- err
	}()
	before := counting.writes.Load()
	under.Hold()
	for rest := sent; len(rest) > 0; {
		n := min(5000, len(rest))
		if _, err := conn.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := under.Release(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !bytes.Equal(arrived.Bytes(), sent) {
		t.Errorf("%d bytes arrived, of %d, alike: %v (%v)", arrived.Len(), len(sent), bytes.Equal(arrived.Bytes(), sent), err)
	}
	// By itself each of the 210 would be a write.
	if writes := counting.writes.Load() - before; writes > 20 {
		t.Errorf("%d writes", writes)
	}

	under.Hold()
	_, _ = conn.Write(sent[:10])
	_ = conn.Close() // without a word to the peer, as a cut does
	if under.Release() == nil {
		t.Error("what is held when the connection ends is lost without an error")
	}
}

// A connection whose peer reads nothing is cut at once, however much is held.
func TestCloseCutsAHeldWrite(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	p := startProxy(t, files(t, authn.Server, proxyLeaf(t, ca), ca), newFailures())
	raw, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	creds := authn.TunnelClientCredentials(files(t, authn.Client, agentLeaf(t, ca), ca), spiffeid.RequireFromString(prxyID))
	stuck := &stuckConn{Conn: raw, writing: make(chan struct{}), closed: make(chan struct{})}
	conn, _, err := creds.ClientHandshake(t.Context(), p.addr, stuck)
	if err != nil {
		t.Fatal(err)
	}
	stuck.stick.Store(true)
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, 32<<10))
		written <- err
	}()
	<-stuck.writing
	_ = conn.Close()
	if <-written == nil {
		t.Error("the write that was cut has ended well")
	}
}

// stuckConn has a peer that reads nothing any more: only Close ends a write, as no
// deadline of a few seconds may have to.
type stuckConn struct {
	net.Conn
	stick   atomic.Bool
	once    sync.Once
	writing chan struct{}
	shut    sync.Once
	closed  chan struct{}
}

func (c *stuckConn) Write(p []byte) (int, error) {
	if !c.stick.Load() {
		return c.Conn.Write(p)
	}
	c.once.Do(func() { close(c.writing) })
	<-c.closed
	return 0, net.ErrClosed
}

func (c *stuckConn) Close() error {
	c.shut.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
