package authn

import (
	"container/list"
	"errors"
	"net"
	"runtime"
	"sync"
	"time"
)

// ListenConfig bounds what strangers can do before they have proved anything.
type ListenConfig struct {
	// Auth is ignored on the tunnel, where a client always needs a certificate.
	Auth ClientAuth
	// MaxHandshakes may be under way at once; for one more, the one is dropped whose
	// peer is silent for too long. 0 means 1024.
	MaxHandshakes int
	// HandshakeTimeout is for how long a handshake may wait for its peer, all in all.
	// 0 means 10 s.
	HandshakeTimeout time.Duration
	// Cores is how many handshakes may compute at once. 0 means GOMAXPROCS.
	Cores int
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
	turns   turns
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
	if cfg.Cores <= 0 {
		cfg.Cores = runtime.GOMAXPROCS(0)
	}
	if cfg.MaxHandshakes <= 0 {
		cfg.MaxHandshakes = defaultMaxHandshakes
	}
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = defaultHandshakeTimeout
	}
	return &Listener{
		inner: inner, source: source, protocol: protocol, cfg: cfg,
		turns: newTurns(cfg.Cores), done: make(chan struct{}), results: make(chan accepted), underway: list.New(),
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
		conn := &Conn{gatherer: &gatherer{Conn: inner}, source: l.source}
		for !l.admit(conn) {
			l.pause()
		}
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// admit starts a handshake, at the expense of another when there are too many; false:
// each of them is about to end, and one more has to wait, in the kernel's queue at the
// latest. To drop those would be to begin them all again, over and over, when a fleet of
// agents comes back.
func (l *Listener) admit(conn *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close()
		return true
	}
	if l.underway.Len() >= l.cfg.MaxHandshakes && !l.evictLocked() {
		return false
	}
	conn.shaking = &shaking{turns: l.turns, left: l.cfg.HandshakeTimeout}
	place := l.underway.PushBack(conn)
	l.running.Add(1)
	go l.shake(conn, place)
	return true
}

// evictLocked drops the handshake whose peer is the likeliest never to end it.
func (l *Listener) evictLocked() bool {
	now := time.Now()
	var worst *list.Element
	var most time.Duration
	for e := l.underway.Front(); e != nil; e = e.Next() {
		if overdue := e.Value.(*Conn).shaking.overdue(now); overdue > most {
			worst, most = e, overdue
		}
	}
	if worst == nil {
		return false
	}
	conn := l.underway.Remove(worst).(*Conn)
	conn.evicted.Store(true)
	_ = conn.Close()
	return true
}

// pause waits a moment for a handshake to end.
func (l *Listener) pause() {
	moment := time.NewTimer(shakeMoment)
	defer moment.Stop()
	select {
	case <-moment.C:
	case <-l.done:
	}
}

func (l *Listener) shake(conn *Conn, place *list.Element) {
	defer l.running.Done()
	conn.shaking.begin()
	secure, err := shake(conn, l.protocol, l.cfg.Auth)
	conn.shaking.end()
	l.mu.Lock()
	// Remove does nothing where evictLocked has removed it.
	l.underway.Remove(place)
	conn.shaking = nil
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
