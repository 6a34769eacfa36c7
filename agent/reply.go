package agent

import (
	"io"
	"sync"

	"google.golang.org/grpc/mem"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// chunkBytes is the body of one message. With its header a chunk of 32 KiB would
// fall into grpc-go's 1 MiB buffers, one of 31 KiB stays in those of 32 KiB.
const chunkBytes = 31 << 10

// chunkPool lends the memory of chunks, and takes it back from gRPC once that has
// written a chunk out. It does not clear what it lends.
type chunkPool struct{ sync.Pool }

var chunks = &chunkPool{sync.Pool{New: func() any {
	chunk := make([]byte, chunkBytes)
	return &chunk
}}}

// Get implements mem.BufferPool.
func (p *chunkPool) Get(length int) *[]byte {
	chunk := p.Pool.Get().(*[]byte)
	*chunk = (*chunk)[:length]
	return chunk
}

// Put implements mem.BufferPool.
func (p *chunkPool) Put(chunk *[]byte) {
	*chunk = (*chunk)[:chunkBytes]
	p.Pool.Put(chunk)
}

// reply sends one scrape's answer in as few messages as it can: the head waits
// for the first body, the last body takes the end along.
type reply struct {
	send func(*tunnelv1.RawReply) error
	msg  tunnelv1.RawReply // used again for each message: Send has encoded it when it returns

	head *tunnelv1.Head // not yet sent
	// chunk holds body that is not yet sent, in its first filled bytes. Sending
	// passes it to gRPC.
	chunk  *[]byte
	filled int

	begun bool  // the head is sent
	err   error // the lane broke; nothing more can be sent
}

// room is where the next body bytes go.
func (r *reply) room() []byte {
	if r.chunk == nil {
		r.chunk = chunks.Get(chunkBytes)
	}
	return (*r.chunk)[r.filled:]
}

// Write gathers what a compressor puts out into whole chunks.
func (r *reply) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if r.filled == chunkBytes {
			if err := r.flush(nil); err != nil {
				return written, err
			}
		}
		n := copy(r.room(), p)
		r.filled += n
		p = p[n:]
		written += n
	}
	return written, nil
}

// flush sends one message with the head, if that has not been sent, what the
// chunk holds, and end, if that is not nil.
func (r *reply) flush(end *tunnelv1.End) error {
	if r.err != nil {
		return r.err
	}
	r.msg.Head, r.msg.End = r.head, end
	if r.filled > 0 {
		*r.chunk = (*r.chunk)[:r.filled]
		r.msg.Body = append(r.msg.Body[:0], mem.NewBuffer(r.chunk, chunks))
		r.chunk, r.filled = nil, 0
	}
	r.head, r.begun = nil, r.begun || r.head != nil
	r.err = r.send(&r.msg)
	r.msg.Head, r.msg.Body, r.msg.End = nil, r.msg.Body[:0], nil
	return r.err
}

// end finishes the answer. A failure takes nothing along: before the head the
// proxy can then still answer with a status of its own.
func (r *reply) end(e ending) error {
	if e.code != tunnelv1.End_COMPLETE {
		r.head, r.filled = nil, 0
	}
	err := r.flush(&tunnelv1.End{Code: e.code, Reason: e.reason})
	if r.chunk != nil {
		chunks.Put(r.chunk)
	}
	r.chunk, r.filled, r.head = nil, 0, nil
	return err
}

// fill reads until p is full or src ends, which is io.EOF. It is not io.ReadFull
// because that reports a short read and a body that broke off by one and the
// same error.
func fill(src io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = src.Read(p[n:])
		n += m
	}
	return n, err
}

// capped passes at most left bytes of src and then fails, where src has more.
type capped struct {
	src  io.Reader
	left int64
}

var errTooLarge = tooLargeError{}

type tooLargeError struct{}

func (tooLargeError) Error() string { return "the body is over the limit" }

func (c *capped) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.src.Read(p)
	if int64(n) > c.left {
		return int(c.left), errTooLarge
	}
	c.left -= int64(n)
	return n, err
}
