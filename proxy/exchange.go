package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/seed-951114d4/sallyport/authn"
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
	// maxBody is the largest body, in bytes as they cross the tunnel.
	maxBody int64

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

// statusError is a target's answer that came whole and is no 200.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("the target answered with status %d", int(e)) }

// endError is an End that is not COMPLETE.
type endError struct {
	code   tunnelv1.End_Code
	reason string
}

func (e *endError) Error() string { return e.reason }

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
	if e.body > grown(e.maxBody) || head.GetContentLength() > uint64(grown(e.maxBody)) {
		return &endError{code: tunnelv1.End_TOO_LARGE, reason: "the body is over the limit"}
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

// endOf is the error of an End that is not COMPLETE.
func (e *exchange) endOf(end *tunnelv1.End) error {
	if end.GetCode() == tunnelv1.End_CANCELLED && e.ctx.Err() != nil {
		return errHungUp
	}
	return &endError{code: end.GetCode(), reason: oneLine(end.GetReason(), maxReason)}
}

// writeHead sends the target's status and the two headers that say what the body
// is, verbatim. The length is known of a body that came whole, and of one whose
// target said it.
func (e *exchange) writeHead(head *tunnelv1.Head, whole bool) error {
	status := int(head.GetStatus())
	if status < 200 || status > 599 || status/100 == 3 ||
		len(head.GetContentType()) > maxHeader || !printable(head.GetContentType()) ||
		len(head.GetContentEncoding()) > maxHeader || !printable(head.GetContentEncoding()) {
		return errContract
	}
	if err := http.NewResponseController(e.w).SetWriteDeadline(e.writeDeadline()); err != nil {
		return errors.Join(errHungUp, err)
	}
	h := e.w.Header()
	// A nil value keeps net/http from guessing a type that the target did not send.
	h["Content-Type"] = nil
	if head.GetContentType() != "" {
		h["Content-Type"] = []string{head.GetContentType()}
	}
	if head.GetContentEncoding() != "" {
		h["Content-Encoding"] = []string{head.GetContentEncoding()}
	}
	e.outcome, e.status = OK, status
	if status != http.StatusOK {
		e.outcome = TargetStatus
		h["Sallyport-Outcome"] = []string{string(TargetStatus)}
	}
	if (whole || e.length > 0) && status != http.StatusNoContent {
		h["Content-Length"] = []string{strconv.FormatInt(max(e.length, e.body), 10)}
	}
	e.w.WriteHeader(status)
	e.headSent = true
	return nil
}

func (e *exchange) writeBody(body mem.BufferSlice, length int64) error {
	if length == 0 {
		return nil
	}
	if e.body > length { // with the first chunk the head has set it
		if err := http.NewResponseController(e.w).SetWriteDeadline(e.writeDeadline()); err != nil {
			return errors.Join(errHungUp, err)
		}
	}
	conn, ok := e.conn.(*authn.Conn)
	ok = ok && length > minHeld
	if ok {
		conn.Hold()
	}
	var failed error
	for _, part := range body {
		n, err := e.w.Write(part.ReadOnlyData())
		e.metrics.bytes.Add(float64(n))
		if failed = err; err != nil {
			break
		}
	}
	if ok {
		failed = errors.Join(failed, conn.Release())
	}
	if failed != nil {
		return errors.Join(errHungUp, failed)
	}
	return nil
}

// minHeld is the smallest part of a body that takes several writes, in bytes.
const minHeld = 4 << 10

// writeDeadline moves with each chunk, but not beyond the scrape's time.
func (e *exchange) writeDeadline() time.Time {
	stalled := time.Now().Add(stallTimeout)
	if e.deadline.Before(stalled) {
		return e.deadline
	}
	return stalled
}

// explain turns what ended a scrape before its head into an answer.
func (e *exchange) explain(err error) *failure {
	var end *endError
	switch {
	case errors.Is(err, errHungUp):
		return &failure{outcome: Cancelled, text: "the scraper hung up", cause: err}
	case errors.Is(err, errLapsed):
		return &failure{outcome: Cancelled, text: errLapsed.Error(), cause: err}
	case errors.Is(err, errRevoked):
		return &failure{outcome: NotFound, text: errNotFound().text, cause: err}
	case errors.Is(err, errDeadline):
		return &failure{outcome: AgentTimeout, text: "the agent did not answer in time"}
	case errors.As(err, &end):
		outcome, ok := endOutcomes[end.code]
		if !ok {
			return &failure{outcome: AgentGone, text: "the agent dropped the scrape", cause: err}
		}
		text := words[outcome]
		if end.reason != "" {
			text += ": " + end.reason
		}
		return &failure{outcome: outcome, text: text}
	}
	return &failure{outcome: AgentGone, text: "the agent's session broke", cause: err}
}

// words begins the line of a failure that the agent reported.
var words = map[Outcome]string{
	BadRequest:        "the target does not take this query",
	AgentGone:         "the agent no longer has this route",
	TargetUnreachable: "the target is unreachable",
	TargetRejected:    "the agent refuses the target",
	TooLarge:          "the body is too large",
	TargetTimeout:     "the target did not answer in time",
	Busy:              "the agent is busy",
}

// oneLine makes one line of at most that many bytes of what a peer says.
func oneLine(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// maxReason bounds what a peer may say of a failure, in bytes.
const maxReason = 200
