package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

var (
	// errUnsent means that the lane had ended before the agent can have answered
	// anything: another lane may be tried.
	errUnsent = errors.New("the lane had ended")
	// errHungUp means that the scraper takes no more.
	errHungUp = errors.New("the scraper hung up or stalled")
	// errContract means that the agent broke the wire contract.
	errContract = errors.New("the agent broke the wire contract")
)

// exchange is one scrape on one borrowed lane.
type exchange struct {
	scrapes
	w      http.ResponseWriter
	conn   net.Conn // under w
	ctx    context.Context
	hangUp context.CancelCauseFunc
	lane   *lane
	// deadline is when ctx ends at the latest.
	deadline time.Time
	// terms have the largest body, in bytes as they cross the tunnel.
	terms terms

	sent atomic.Bool // the agent has been asked

	outcome Outcome
	status  int // of the target
	// reusable: the agent has said its End and hears nothing more of this
	// scrape, so that the lane may carry another.
	reusable bool
	headSent bool
	body     int64 // bytes so far
	length   int64 // bytes in all; 0: not known
}

// run carries the scrape. Where it ends before a head, run has answered with
// the failure that it returns; errUnsent alone leaves the answer open. An answer
// that is whole, but not 200, is a statusError.
func (e *exchange) run(request *tunnelv1.ScrapeRequest) error {
	settle := e.watch()
	err := e.lane.start(request)
	if err == nil {
		e.sent.Store(true)
		var ended bool
		ended, err = e.receive()
		e.reusable = settle() && ended
	} else {
		settle()
		err = e.broken(io.EOF, true)
	}
	switch {
	case err == nil && e.outcome == TargetStatus:
		return statusError(e.status)
	case err == nil || errors.Is(err, errUnsent):
		return err
	case e.headSent:
		e.outcome = Truncated
		if errors.Is(err, errHungUp) || errors.Is(err, errLapsed) {
			e.outcome = Cancelled
		}
		return err
	}
	f := e.explain(err)
	e.outcome = f.outcome
	if f.outcome != Cancelled {
		_ = http.NewResponseController(e.w).SetWriteDeadline(time.Now().Add(stallTimeout))
		f.write(e.w)
	}
	return f
}

// watch tells the agent when the scraper hangs up. It ends the lane at once when
// the scrape is revoked or its scraper's credential ends, and when the time is up:
// the agent, whose time is shorter, has then failed to answer. It also does while
// the request is on its way: an agent that reads none makes that wait. The returned
// function ends the watch; false: the lane is not to be used again.
func (e *exchange) watch() (settle func() bool) {
	var grace *time.Timer
	done := make(chan struct{})
	stop := context.AfterFunc(e.ctx, func() {
		defer close(done)
		cause := context.Cause(e.ctx)
		if !e.sent.Load() || errors.Is(cause, errDeadline) || errors.Is(cause, errRevoked) || errors.Is(cause, errLapsed) {
			e.lane.close()
			return
		}
		grace = time.AfterFunc(cancelGrace, e.lane.close)
		e.lane.cancel()
	})
	return func() bool {
		if stop() {
			return true
		}
		// What was sent after the agent's End would meet the next scrape.
		<-done
		return grace != nil && grace.Stop()
	}
}

// receive takes the agent's messages until its End (ended), writing them out as
// they come. After an error of its own making it reads on, so that the lane is
// clean for the next scrape.
func (e *exchange) receive() (ended bool, err error) {
	var reply tunnelv1.RawReply
	for first := true; ; first = false {
		if recvErr := e.lane.stream.RecvMsg(&reply); recvErr != nil {
			if err == nil {
				err = e.broken(recvErr, first)
			}
			return false, err
		}
		if err == nil {
			err = e.pass(&reply, first)
		}
		reply.Free()
		switch {
		case errors.Is(err, errContract):
			return false, err
		case reply.End != nil:
			return true, err
		case err != nil:
			e.hangUp(errHungUp)
		}
	}
}

// broken explains a lane that ended in the middle.
func (e *exchange) broken(err error, first bool) error {
	switch cause := context.Cause(e.ctx); {
	case errors.Is(cause, errDeadline), errors.Is(cause, errRevoked), errors.Is(cause, errLapsed):
		return cause
	case cause != nil:
		return errHungUp
	case first && errors.Is(err, io.EOF):
		return errUnsent
	}
	return fmt.Errorf("receiving from agent: %w", err)
}

// pass writes one message of the agent to the scraper.
func (e *exchange) pass(reply *tunnelv1.RawReply, first bool) error {
	head, end, length := reply.Head, reply.End, int64(reply.Body.Len())
	if first != (head != nil) && !(first && end != nil && length == 0) {
		return errContract
	}
	whole := end.GetCode() == tunnelv1.End_COMPLETE
	if head == nil && first {
		if whole {
			return errContract
		}
		return e.endOf(end)
	}
	e.body += length
	if most := grown(e.terms.body); e.body > most || head.GetContentLength() > uint64(most) {
		limit, hint := e.terms.overBody()
		return &endError{code: tunnelv1.End_TOO_LARGE, reason: "more than " + limit, hint: hint}
	}
	if head != nil {
		e.length = int64(head.GetContentLength())
	}
	if e.length > 0 && (e.body > e.length || whole && e.body < e.length) {
		return errContract
	}
	if (head.GetStatus() == http.StatusNoContent || e.status == http.StatusNoContent) && e.body+e.length > 0 {
		return errContract
	}
	if head != nil {
		if err := e.writeHead(head, whole); err != nil {
			return err
		}
	}
	if err := e.writeBody(reply.Body, length); err != nil {
		return err
	}
	if end != nil && !whole {
		return e.endOf(end)
	}
	return nil
}

// grown is what a body of limit bytes may have become where an agent compressed
// what does not compress: five bytes for each 31 KiB, and gzip's frame.
func grown(limit int64) int64 { return limit + limit/1024 + 64 }
