package testenv

import (
	"net"
	"sync"
	"testing"
)

// listener remembers its connections, so that it can break them all as the end
// of a process does.
type listener struct {
	net.Listener

	mu    sync.Mutex
	conns map[*tracked]struct{}
}

// tracked is a connection that its listener forgets when it is closed.
type tracked struct {
	net.Conn
	of *listener
}

func (c *tracked) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

func listen(tb testing.TB, addr string) *listener {
	tb.Helper()
	inner, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	return &listener{Listener: inner, conns: make(map[*tracked]struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &tracked{Conn: conn, of: l}
	l.conns[c] = struct{}{}
	return c, nil
}

func (l *listener) kill() {
	_ = l.Listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		_ = conn.Conn.Close()
	}
}
