package testenv

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Link is a network between two ends that can fail as networks do.
type Link struct {
	// Addr is where to dial.
	Addr string

	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu             sync.Mutex
	closed         bool
	conns          map[net.Conn]struct{}
	frozen         chan struct{} // nil: it passes everything on; closed on thaw
	ended          chan struct{}
	sent, received int64
}

// NewLink makes a link to an address.
func NewLink(tb testing.TB, to string) *Link {
	tb.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	l := &Link{Addr: inner.Addr().String(), listener: inner, to: to, conns: make(map[net.Conn]struct{}), ended: make(chan struct{})}
	l.running.Add(1)
	go l.accept()
	tb.Cleanup(l.Close)
	return l
}

// Close ends the link: what is on it breaks, and nothing can be dialled.
func (l *Link) Close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.ended)
		_ = l.listener.Close()
	}
	l.mu.Unlock()
	l.Cut()
	l.running.Wait()
}

// Cut breaks the connections; new ones can be dialled.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		_ = conn.Close()
	}
}

// Freeze passes nothing on any more, in silence, as a firewall that forgot a
// connection does. New connections are as silent.
func (l *Link) Freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen == nil {
		l.frozen = make(chan struct{})
	}
}

// Thaw passes on again.
func (l *Link) Thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen != nil {
		close(l.frozen)
		l.frozen = nil
	}
}

// Bytes counts what the dialling end sent and what it was sent.
func (l *Link) Bytes() (sent, received int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, l.received
}

func (l *Link) accept() {
	defer l.running.Done()
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.to)
		if err != nil || !l.keep(near, far) {
			_ = near.Close()
			if far != nil {
				_ = far.Close()
			}
			continue
		}
		l.running.Add(2)
		go l.pass(far, near, &l.sent)
		go l.pass(near, far, &l.received)
	}
}

func (l *Link) keep(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	for _, conn := range conns {
		l.conns[conn] = struct{}{}
	}
	return true
}

// pass copies until either end closes, and then closes both.
func (l *Link) pass(to io.WriteCloser, from net.Conn, count *int64) {
	defer l.running.Done()
	defer to.Close()
	defer from.Close()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, from)
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		l.hold()
		l.mu.Lock()
		*count += int64(n)
		l.mu.Unlock()
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// hold waits while the link is frozen.
func (l *Link) hold() {
	l.mu.Lock()
	frozen := l.frozen
	l.mu.Unlock()
	if frozen == nil {
		return
	}
	select {
	case <-frozen:
	case <-l.ended:
	}
}
