package agent

import (
	"context"
	"net"
	"sync"
)

// readAheadBytes is how much is read at once of a target that sends much.
const readAheadBytes = 64 << 10

var readAheads = sync.Pool{New: func() any { return new([readAheadBytes]byte) }}

// readAhead is a connection to a target. net/http reads 4 KiB at a time, which for
// the many exporters that send their metrics in small chunks is a call of the kernel
// for each 4 KiB; a larger buffer there would be held by every idle connection. This
// one is held only while a body comes in.
type readAhead struct {
	net.Conn
	more   bool // the last read was a full one
	buffer *[readAheadBytes]byte
	ahead  []byte // of buffer, not read yet
}

// Read implements net.Conn. net/http calls it from one goroutine.
func (c *readAhead) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		return c.take(p), nil
	}
	if !c.more || len(p) >= readAheadBytes {
		n, err := c.Conn.Read(p)
		c.more = n == len(p)
		return n, err
	}
	c.buffer = readAheads.Get().(*[readAheadBytes]byte)
	n, err := c.Conn.Read(c.buffer[:])
	c.ahead, c.more = c.buffer[:n], n == readAheadBytes
	if n > 0 {
		err = nil // it comes again, when what is before it has been taken
	}
	return c.take(p), err
}

func (c *readAhead) take(p []byte) int {
	n := copy(p, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		readAheads.Put(c.buffer)
		c.buffer, c.ahead = nil, nil
	}
	return n
}

// aheadDial dials connections that read ahead.
func aheadDial(dialer *net.Dialer) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &readAhead{Conn: conn}, nil
	}
}
