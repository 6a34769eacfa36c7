package agent

import (
	"io"
	"sync"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// chunkBytes is the body of one message. With its header a chunk of 32 KiB would
// fall into grpc-go's 1 MiB buffers, one of 31 KiB stays in those of 32 KiB.
const chunkBytes = 31 << 10

var chunks = sync.Pool{New: func() any { return new([chunkBytes]byte) }}

// reply sends one scrape's answer in as few messages as it can: the head waits
// for the first body, the last body takes the end along.
type reply struct {
	send func(*tunnelv1.LaneReply) error
	msg  tunnelv1.LaneReply // used again for each message: Send has encoded it when it returns

	head *tunnelv1.Head // not yet sent
	body []byte         // not yet sent, in buf
	buf  *[chunkBytes]byte

	begun bool  // the head is sent
	err   error // the lane broke; nothing more can be sent
}

// Write gathers what a compressor puts out into whole chunks.
func (r *reply) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if r.buf == nil {
			r.buf = chunks.Get().(*[chunkBytes]byte)
			r.body = r.buf[:0]
		}
		if len(r.body) == chunkBytes {
			if err := r.flush(r.body, nil); err != nil {
				return written, err
			}
			r.body = r.buf[:0]
		}
		n := copy(r.buf[len(r.body):], p)
		r.body = r.buf[:len(r.body)+n]
		p = p[n:]
		written += n
	}
	return written, nil
}

// flush sends one message with the head, if that has not been sent, body, and
// end, if that is not nil.
func (r *reply) flush(body []byte, end *tunnelv1.End) error {
	if r.err != nil {
		return r.err
	}
	r.msg.Head, r.msg.Body, r.msg.End = r.head, body, end
	r.head, r.begun = nil, r.begun || r.head != nil
	r.err = r.send(&r.msg)
	r.msg.Head, r.msg.Body, r.msg.End = nil, nil, nil
	return r.err
}

// end finishes the answer. A failure takes nothing along: before the head the
// proxy can then still answer with a status of its own. body is the rest of a
// complete answer, nil for the rest of what Write was given.
func (r *reply) end(e ending, body []byte) error {
	switch {
	case e.code != tunnelv1.End_COMPLETE:
		r.head, body = nil, nil
	case body == nil:
		body = r.body
	}
	err := r.flush(body, &tunnelv1.End{Code: e.code, Reason: e.reason})
	if r.buf != nil {
		chunks.Put(r.buf)
	}
	r.buf, r.body, r.head = nil, nil, nil
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
