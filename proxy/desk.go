package proxy

import (
	"context"
	"errors"

	"github.com/seed-951114d4/sallyport/authz"
)

// desk is where the offers of agents are decided, one for each core at a time. After a
// restart thousands of agents come at once with hundreds of thousands of routes: those
// are seconds of decisions, and a scrape must not wait behind them. Nor may the agents
// crowd each other out, until a decision that takes microseconds is late.
type desk struct{ places chan struct{} }

func newDesk(cores int) *desk { return &desk{places: make(chan struct{}, cores)} }

// at does work when there is a place, unless ctx ends before. Work is to be short, so
// that none keeps the others waiting. It is done on another goroutine: an evaluation is
// deep, and the goroutine of a session, which then waits for days, would keep the 32 KiB
// of stack that it takes.
func (d *desk) at(ctx context.Context, work func() error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	select {
	case d.places <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-d.places }()
	done := make(chan error)
	go func() { done <- work() }()
	return <-done
}

// inTime decides again where the answer was late: on a machine that is busy for a
// moment it often is, and that says nothing of the policy. One that is always late
// denies.
func inTime(decide func() authz.Decision) authz.Decision {
	const tries = 3
	d := decide()
	for try := 1; try < tries && errors.Is(d.Fault, authz.ErrLate); try++ {
		d = decide()
	}
	return d
}
