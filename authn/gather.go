package authn

import (
	"net"
	"sync"
)

// gatherBytes is how much a gatherer writes at once: four records of TLS.
const gatherBytes = 64 << 10

var gatherBuffers = sync.Pool{New: func() any {
	buffer := make([]byte, 0, gatherBytes)
	return &buffer
}}

// gatherer is a connection under TLS that can put writes together. TLS writes each
// record of 16 KiB by itself, net/http each piece of its framing, and what the
// kernel asks for a write is the half of what a scrape of 5 MB costs.
type gatherer struct {
	net.Conn

	// mu also keeps an alert or a key update of the reading side apart.
	mu     sync.Mutex
	buffer *[]byte // nil: nothing is held
	failed error   // the first of writing what was held; nothing is written any more
}

// Hold keeps what is written from now on until Release, or until it is much.
func (g *gatherer) Hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buffer == nil {
		g.buffer = gatherBuffers.Get().(*[]byte)
	}
}

// Release writes what is held. An error is of any write of what was held so far.
func (g *gatherer) Release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buffer == nil {
		return nil
	}
	err := g.writeHeld()
	gatherBuffers.Put(g.buffer)
	g.buffer = nil
	return err
}

func (g *gatherer) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.failed != nil:
		return 0, g.failed
	case g.buffer == nil:
		return g.Conn.Write(p)
	}
	if len(*g.buffer)+len(p) > gatherBytes {
		if err := g.writeHeld(); err != nil {
			return 0, err
		}
	}
	if len(p) > gatherBytes {
		return g.Conn.Write(p)
	}
	*g.buffer = append(*g.buffer, p...)
	return len(p), nil
}

func (g *gatherer) writeHeld() error {
	if len(*g.buffer) > 0 && g.failed == nil {
		_, g.failed = g.Conn.Write(*g.buffer)
	}
	*g.buffer = (*g.buffer)[:0]
	return g.failed
}

// cut ends the connection under a write that its peer does not take. TLS would do so
// itself if it were its own: it believes all written that is held.
func (g *gatherer) cut() {
	if g.mu.TryLock() {
		g.mu.Unlock()
		return
	}
	_ = g.Conn.Close()
}

// gathered is a TLS connection over a gatherer: each of its writes is one, however
// many records it takes.
type gathered struct {
	net.Conn
	under *gatherer
}

// Close implements net.Conn.
func (g gathered) Close() error {
	g.under.cut()
	return g.Conn.Close()
}

// Write implements net.Conn.
func (g gathered) Write(p []byte) (int, error) {
	const record = 16 << 10
	if len(p) <= record {
		return g.Conn.Write(p)
	}
	g.under.Hold()
	n, err := g.Conn.Write(p)
	if released := g.under.Release(); err == nil && released != nil {
		return 0, released
	}
	return n, err
}
