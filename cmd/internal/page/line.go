package page

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
)

const (
	// beat is how often a client hears at least that there is nothing new: it tells one
	// that is silent from one that has gone, and so do we.
	beat = 15 * time.Second
	// asking is how often the guard is asked whether the client may still watch.
	asking = time.Second
	// sendTimeout is how long a client may take to read one message.
	sendTimeout = 10 * time.Second
)

// beatEvent is an event, since a script does not hear of a comment.
var beatEvent = []byte("event: beat\ndata:\n\n")

// line is the connection to one who watches. It asks the guard and beats by itself,
// however long a view takes to be made or to be read.
type line struct {
	ctx     context.Context
	cancel  context.CancelFunc
	control *http.ResponseController
	running sync.WaitGroup

	mu    sync.Mutex // who holds it writes
	w     http.ResponseWriter
	begun bool

	fault any // of the guard, once all has ended
}

func newLine(w http.ResponseWriter, r *http.Request) *line {
	ctx, cancel := context.WithCancel(r.Context())
	return &line{ctx: ctx, cancel: cancel, control: http.NewResponseController(w), w: w}
}

// attend begins to ask and to beat.
func (l *line) attend() {
	l.running.Go(l.guard)
	l.running.Go(l.beats)
}

// close ends it and waits until nobody writes any more. A panic of the guard becomes one
// of the request, of which the server knows what to do.
func (l *line) close() {
	l.end()
	l.running.Wait()
	if l.fault != nil {
		panic(l.fault)
	}
}

// end has nothing written any more: what is being written fails.
func (l *line) end() {
	l.cancel()
	_ = l.control.SetWriteDeadline(time.Unix(1, 0))
}

func (l *line) guard() {
	defer l.end()
	defer func() { l.fault = recover() }()
	ticker := time.NewTicker(asking)
	defer ticker.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-ticker.C:
		}
		if !admin.Still(l.ctx) {
			return
		}
	}
}

func (l *line) beats() {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-ticker.C:
		}
		if !l.mu.TryLock() {
			continue // something else is being sent
		}
		err := l.sendLocked(beatEvent)
		l.mu.Unlock()
		if err != nil {
			l.end()
			return
		}
	}
}

// send writes an event.
func (l *line) send(event []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sendLocked(event)
}

func (l *line) sendLocked(event []byte) error {
	// In this order, which is the reverse of end's: what it has ended stays ended.
	_ = l.control.SetWriteDeadline(time.Now().Add(sendTimeout))
	if err := l.ctx.Err(); err != nil {
		return err
	}
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "text/event-stream")
	}
	if _, err := l.w.Write(event); err != nil {
		return err
	}
	return l.control.Flush()
}

// fail tells the client of a fault, if it was not sent anything yet.
func (l *line) fail() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun {
		return
	}
	_ = l.control.SetWriteDeadline(time.Now().Add(sendTimeout))
	http.Error(l.w, "the page cannot be shown: the log says why", http.StatusInternalServerError)
	_ = l.control.Flush()
}
