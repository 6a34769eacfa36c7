package proxy

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/seed-951114d4/sallyport/authn"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

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
