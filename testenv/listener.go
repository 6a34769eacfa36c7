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
	conns []net.Conn
}

func listen(tb testing.TB, addr string) *listener {
	tb.Helper()
	inner, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	return &listener{Listener: inner}
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, conn)
	return conn, nil
}

func (l *listener) kill() {
	_ = l.Listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		_ = conn.Close()
	}
}
