package admin

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// MaxConnections is how many connections the listener has open at most.
const MaxConnections = 256

// places are the open connections. One more than there may be takes the place of another
// rather than wait or be refused: whoever fills the places, with connections on which
// nothing was let in, would else shut everybody out for as long as it likes. As it is,
// such a connection ends with its first answer or when its time to ask is over, and the
// oldest of them goes before anybody's who was let in; a newcomer has until as many others
// have come after it as there are places, and only needs to ask.
type places struct {
	mu   sync.Mutex
	open map[net.Conn]*place
}

// place is what is known of a connection.
type place struct {
	letIn bool
	idle  bool
	since time.Time // when it came, or has become idle
}

type placeKey struct{}

// enter gives a new connection its place, and tells its requests of it.
func (p *places) enter(ctx context.Context, conn net.Conn) context.Context {
	own := &place{since: time.Now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) >= MaxConnections && !p.makeRoomLocked() {
		cut(conn)
		return ctx
	}
	p.open[conn] = own
	return context.WithValue(ctx, placeKey{}, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		own.letIn = true
	})
}

// makeRoomLocked ends the connection that is the least worth: the oldest on which nothing
// was let in, or else the one that has been idle for longest. It is false where each is
// being answered who was let in.
func (p *places) makeRoomLocked() bool {
	var worst net.Conn
	for conn, own := range p.open {
		if own.letIn && !own.idle {
			continue
		}
		if worst == nil || own.worse(p.open[worst]) {
			worst = conn
		}
	}
	if worst == nil {
		return false
	}
	delete(p.open, worst)
	cut(worst)
	return true
}

// cut ends a connection without a word: to send one may take a while.
func cut(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close()
}

func (p *place) worse(than *place) bool {
	if p.letIn != than.letIn {
		return !p.letIn
	}
	return p.since.Before(than.since)
}

// changed is for http.Server.ConnState.
func (p *places) changed(conn net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := p.open[conn]
	switch {
	case own == nil: // it has made room
	case state == http.StateClosed || state == http.StateHijacked:
		delete(p.open, conn)
	case state == http.StateIdle:
		own.idle, own.since = true, time.Now()
	case state == http.StateActive:
		own.idle = false
	}
}

// refuse has a connection end with the answer, unless letIn is called before that: who
// may see nothing keeps no place, and who comes with a certificate that has ended can
// only come with another over a new connection.
func refuse(w http.ResponseWriter) { w.Header().Set("Connection", "close") }

func letIn(w http.ResponseWriter, r *http.Request) {
	w.Header().Del("Connection")
	if mark, ok := r.Context().Value(placeKey{}).(func()); ok {
		mark()
	}
}
