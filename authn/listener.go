package authn

import (
	"container/list"
	"errors"
	"net"
	"sync"
	"time"
)

// ListenConfig bounds what strangers can do before they have proved anything.
type ListenConfig struct {
	// Auth is ignored on the tunnel, where a client always needs a certificate.
	Auth ClientAuth
	// MaxHandshakes may be under way at once; the oldest is dropped for one more.
	// 0 means 1024.
	MaxHandshakes int
	// HandshakeTimeout is from accept to the last message. 0 means 10 s.
	HandshakeTimeout time.Duration
	// Failed hears of every handshake that failed, from many goroutines; ReasonOf
	// gives the error a word. May be nil.
	Failed func(remote net.Addr, err error)
	// Succeeded hears of every other. May be nil.
	Succeeded func()
}

const (
	defaultMaxHandshakes    = 1024
	defaultHandshakeTimeout = 10 * time.Second
)

// Listener hands out connections whose handshake is over, as *tls.Conn: a server
// behind it never meets a peer that has proved nothing.
type Listener struct {
	inner    net.Listener
	source   Source
	protocol string
	cfg      ListenConfig

	start   sync.Once
	stop    sync.Once
	done    chan struct{} // closed by Close
	results chan accepted
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	underway *list.List // of *Conn, the oldest first
}

type accepted struct {
	conn net.Conn
	err  error
}

// ListenTunnel takes agents: gRPC over mutual TLS 1.3. Use it with
// TunnelServerCredentials.
func ListenTunnel(inner net.Listener, source Source, cfg ListenConfig) *Listener {
	cfg.Auth = RequireClient
	return newListener(inner, source, protocolTunnel, cfg)
}

// ListenHTTPS takes scrapers and people: HTTP/1.1 over TLS 1.2 or later. Set
// http.Server.ConnContext to ConnContext.
func ListenHTTPS(inner net.Listener, source Source, cfg ListenConfig) *Listener {
	return newListener(inner, source, protocolHTTPS, cfg)
}

func newListener(inner net.Listener, source Source, protocol string, cfg ListenConfig) *Listener {
	if cfg.MaxHandshakes <= 0 {
		cfg.MaxHandshakes = defaultMaxHandshakes
	}
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = defaultHandshakeTimeout
	}
	return &Listener{
		inner: inner, source: source, protocol: protocol, cfg: cfg,
		done: make(chan struct{}), results: make(chan accepted), underway: list.New(),
	}
}

// Addr returns the listener's address.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Accept returns the next connection that finished its handshake.
func (l *Listener) Accept() (net.Conn, error) {
	l.start.Do(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.closed {
			l.running.Add(1)
			go l.accept()
		}
	})
	select {
	case result := <-l.results:
		if result.err == nil && l.cfg.Succeeded != nil {
			l.cfg.Succeeded()
		}
		return result.conn, result.err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close stops accepting, drops what is still shaking hands, and waits for it.
// Connections that Accept returned live on.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.stop.Do(func() {
		close(l.done)
		err = l.inner.Close()
		l.mu.Lock()
		l.closed = true
		for e := l.underway.Front(); e != nil; e = e.Next() {
			_ = e.Value.(*Conn).Close()
		}
		l.mu.Unlock()
	})
	l.running.Wait()
	return err
}

// accept ends at the first error that is not temporary, such as too many open
// files: for that the caller of Accept waits a little, and so does this.
func (l *Listener) accept() {
	defer l.running.Done()
	for {
		inner, err := l.inner.Accept()
		if err != nil {
			if !l.deliver(accepted{err: err}) || !temporary(err) {
				return
			}
			continue
		}
		l.admit(&Conn{gatherer: &gatherer{Conn: inner}, source: l.source}, time.Now())
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// admit starts a handshake, at the expense of the oldest when there are too many:
// one that has been under way for long is the likeliest never to end.
func (l *Listener) admit(conn *Conn, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close()
		return
	}
	if l.underway.Len() >= l.cfg.MaxHandshakes {
		oldest := l.underway.Remove(l.underway.Front()).(*Conn)
		oldest.evicted.Store(true)
		_ = oldest.Close()
	}
	place := l.underway.PushBack(conn)
	l.running.Add(1)
	go l.shake(conn, place, at.Add(l.cfg.HandshakeTimeout))
}

func (l *Listener) shake(conn *Conn, place *list.Element, deadline time.Time) {
	defer l.running.Done()
	secure, err := shake(conn, l.protocol, l.cfg.Auth, deadline)
	l.mu.Lock()
	// Remove does nothing where admit has removed it.
	l.underway.Remove(place)
	l.mu.Unlock()
	if err == nil && l.deliver(accepted{conn: secure}) {
		return
	}
	_ = conn.Close()
	if err != nil {
		l.report(conn, err)
	}
}

func (l *Listener) report(conn *Conn, err error) {
	if l.cfg.Failed == nil {
		return
	}
	select {
	case <-l.done: // Close cut it: no fault of the peer's.
		return
	default:
	}
	if conn.evicted.Load() {
		err = fail(Overload, errors.New("too many handshakes under way"))
	}
	l.cfg.Failed(conn.RemoteAddr(), err)
}

// deliver is false when the listener was closed first.
func (l *Listener) deliver(result accepted) bool {
	select {
	case l.results <- result:
		return true
	case <-l.done:
		return false
	}
}
