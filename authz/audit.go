package authz

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Effect is what came of a decision.
type Effect string

const (
	// Registered: the agent got the route.
	Registered Effect = "registered"
	// Admitted: the agent has a session now.
	Admitted Effect = "admitted"
	// Denied: the policy refused what was asked for. Repeats are folded.
	Denied Effect = "denied"
	// Refused: the policy allowed it and the proxy did not, because of a quota or
	// another owner. Repeats are folded.
	Refused Effect = "refused"
	// Revoked: what had been allowed was judged again and taken away.
	Revoked Effect = "revoked"
	// Lost is the effect of a line that stands for as many as its count says, which
	// came faster than lines can be written.
	Lost Effect = "lost"
)

func (e Effect) folds() bool { return e == Denied || e == Refused }

// Event is a decision that is to be written down. What it holds must not change any
// more. Texts of a peer's choice may be of any length and content: they are made
// harmless when the line is written.
type Event struct {
	Time     time.Time // of the decision; now if zero
	Action   string    // session, register, scrape or admin
	Effect   Effect
	Identity string // of the agent or the scraper
	Serial   string
	Route    string
	RemoteIP string
	// TLSGroup and TLSSuite are the key exchange and the cipher suite of an agent's
	// connection.
	TLSGroup, TLSSuite string
	// NotAfter is when the chain that proved the identity ends; zero is left out.
	NotAfter time.Time
	Decision Decision
	// Digest of the input that was decided on; nil if there is none. It is called at
	// most once, later and by another goroutine.
	Digest func() string
}

const (
	// maxQueued events wait to be written. It is well above what a policy that
	// changes revokes at once, and above all denials that can be waiting. Agents that
	// all come back at once may register more, but a line takes no longer than the
	// decision and the handshake before it. Who registered what is not folded, for that
	// is what an audit log is for; what does not fit leaves a line that says how many.
	maxQueued = 1 << 14
	// foldAfter is how long denials that are alike are counted before the next line.
	foldAfter = 10 * time.Second
)

// Audit writes decisions as JSON lines. It never makes its caller wait: what cannot
// be kept is dropped and counted. A nil Audit records nothing.
type Audit struct {
	writer auditWriter
	queue  chan *Event

	events, dropped prometheus.Counter

	mu     sync.Mutex
	folds  folds
	lost   int // since the last line about that
	closed bool
}

// NewAudit makes an audit log that writes to sink once Run runs, each line with one
// call of Write. With a nil sink nothing is recorded.
func NewAudit(sink io.Writer, log *slog.Logger, reg prometheus.Registerer) (*Audit, error) {
	a := &Audit{
		queue: make(chan *Event, maxQueued),
		folds: newFolds(),
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_proxy_audit_events_total", Help: "Decisions given to the audit log; those that are alike share a line.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_proxy_audit_dropped_total", Help: "Decisions that the audit log lost: it could not be written, or not fast enough.",
		}),
	}
	a.writer = auditWriter{sink: sink, log: log, dropped: a.dropped}
	for _, c := range []prometheus.Collector{a.events, a.dropped} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of the audit log: %w", err)
		}
	}
	return a, nil
}

// Record takes e up. It does not block.
func (a *Audit) Record(e Event) {
	if a == nil || a.writer.sink == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	a.events.Inc()
	a.mu.Lock()
	defer a.mu.Unlock()
	// Folded here and not by the writer, so that a flood of denials, however large,
	// leaves the queue to what changes something.
	if !a.closed && e.Effect.folds() && !a.folds.isNew(&e, time.Now()) {
		return
	}
	if a.closed {
		a.dropped.Inc()
		return
	}
	select {
	case a.queue <- &e:
	default:
		a.dropped.Inc()
		a.lost++
	}
}

// Run writes until ctx ends, then what is left, and returns nil. A sink that fails
// is logged and tried again with the next line.
func (a *Audit) Run(ctx context.Context) error {
	ticker := time.NewTicker(foldAfter / 10)
	defer ticker.Stop()
	for {
		select {
		case e := <-a.queue:
			a.writer.write(folded{event: e})
		case now := <-ticker.C:
			a.unfold(now.Add(-foldAfter))
		case <-ctx.Done():
			a.drain()
			return nil
		}
	}
}

// unfold writes the counts of what began before then, and of what was lost.
func (a *Audit) unfold(then time.Time) {
	a.mu.Lock()
	due, lost := a.folds.due(then), a.lost
	a.lost = 0
	a.mu.Unlock()
	for _, f := range due {
		a.writer.write(f)
	}
	if lost > 0 {
		a.writer.log.Error("the audit log lost lines: they came faster than they can be written", "lost", lost)
	}
	a.writer.writeLoss(lost)
}

// drain writes what is left. What is recorded from now on is lost, and counted.
func (a *Audit) drain() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	for {
		select {
		case e := <-a.queue:
			a.writer.write(folded{event: e})
		default:
			a.unfold(time.Now().Add(time.Hour))
			return
		}
	}
}
