package proxy

import (
	"sync"

	"google.golang.org/protobuf/proto"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// outbox sends control messages in order without making the poster wait: a
// stream's Send blocks when the peer does not read. It has a goroutine only
// while something is to be sent, since most sessions are silent.
type outbox struct {
	send func(*tunnelv1.ProxyMessage) error

	mu      sync.Mutex
	queue   []*tunnelv1.ProxyMessage
	bytes   int // of the queue and of what is being sent
	sending bool
	closed  bool
	idle    *sync.Cond
}

func newOutbox(send func(*tunnelv1.ProxyMessage) error) *outbox {
	o := &outbox{send: send}
	o.idle = sync.NewCond(&o.mu)
	return o
}

// post queues a message. False: the peer has left too many unread; the outbox is
// then of no more use.
func (o *outbox) post(message *tunnelv1.ProxyMessage) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return true
	}
	size := proto.Size(message)
	if len(o.queue) >= maxOutbox || o.bytes+size > maxOutboxBytes {
		return false
	}
	o.bytes += size
	o.queue = append(o.queue, message)
	if !o.sending {
		o.sending = true
		go o.flush()
	}
	return true
}

func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) > 0 && !o.closed {
		batch, size := o.queue, o.bytes
		o.queue = nil
		o.mu.Unlock()
		err := o.sendAll(batch)
		o.mu.Lock()
		o.bytes -= size
		if err != nil {
			o.closed = true
		}
	}
	o.sending = false
	o.idle.Broadcast()
}

func (o *outbox) sendAll(batch []*tunnelv1.ProxyMessage) error {
	for _, message := range batch {
		if err := o.send(message); err != nil {
			return err
		}
	}
	return nil
}

// close drops what is not sent and waits for a Send under way, which the end of
// the stream has failed by then.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for o.sending {
		o.idle.Wait()
	}
}
