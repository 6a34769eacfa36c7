package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

const (
	slowTick  = 100 * time.Millisecond
	slowBytes = 100 // each tick: 1 KB/s
	// slowBuffer keeps the kernel from taking a body in the reader's stead.
	slowBuffer = 64 << 10
	// stalled is how long no scrape may take that only shares the way.
	stalled = 5.0
	// othersRate is that of the scrapes beside the slow readers.
	othersRate = 200
)

// slowReaders is the row of others' small scrapes while some read very slowly, and
// of what those cost in memory. Their bodies must be longer than the 4 MB that the
// kernel takes for a connection that stalls, or nobody else has to hold anything.
func slowReaders(slow, others load) row {
	name := fmt.Sprintf("%d readers of %s at 1 KB/s", slow.conns, slow.body.name)
	return row{name, func(ctx context.Context, b *bench) ([]result, error) {
		lines := []result{
			{name: name + ", others' p99 with / without", unit: times, reach: under(1.3)},
			{name: name + ", others' slowest", unit: milliseconds, reach: under(stalled), must: true},
			{name: name + ", memory of both hops for each", unit: megabytes, reach: under(1e6)},
		}
		err := b.fresh(ctx, b.reps, func(ctx context.Context, which int, s *subject) error {
			without, before, err := b.beside(ctx, s, others)
			if err != nil {
				return err
			}
			stop, err := b.readSlowly(ctx, s, slow)
			if err != nil {
				return err
			}
			// At first the bodies run until every buffer on their way is full.
			if err := pause(ctx, b.length/2); err != nil {
				return errors.Join(err, stop())
			}
			with, after, err := b.beside(ctx, s, others)
			if err := errors.Join(err, stop()); err != nil {
				return err
			}
			lines[0].add(which, quantile(with.latencies, 0.99).Seconds()/quantile(without.latencies, 0.99).Seconds())
			lines[1].add(which, quantile(with.latencies, 1).Seconds())
			lines[2].add(which, float64(after.private-before.private)/float64(slow.conns))
			return nil
		})
		return lines, err
	}}
}

// beside measures the others, and what both hops hold then.
func (b *bench) beside(ctx context.Context, s *subject, others load) (sample, memory, error) {
	c, err := b.connect(ctx, s, others)
	if err != nil {
		return sample{}, memory{}, err
	}
	defer c.close()
	got, err := c.pace(ctx, othersRate, b.warm(), b.paced())
	if err != nil {
		return sample{}, memory{}, err
	}
	m, err := s.memory()
	return got, m, err
}

// readSlowly starts the slow readers. stop ends them and says whether any of them
// was not served up to then.
func (b *bench) readSlowly(ctx context.Context, s *subject, l load) (stop func() error, err error) {
	l.control = func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { limitReceiving(fd, slowBuffer) })
	}
	c, err := b.connect(ctx, s, l)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	faults := make([]error, len(c.scrapers))
	for i, s := range c.scrapers {
		all.Go(func() { faults[i] = s.readSlowly(ctx) })
	}
	return func() error {
		cancel()
		all.Wait()
		c.close()
		return errors.Join(faults...)
	}, nil
}

func (s *scraper) readSlowly(ctx context.Context) error {
	if err := s.ask(); err != nil {
		return err
	}
	head, err := s.readHead()
	if err != nil {
		return fmt.Errorf("reading head slowly: %w", err)
	}
	if head.length == 0 {
		return errors.New("reading slowly: there is nothing to read")
	}
	defer context.AfterFunc(ctx, func() { _ = s.conn.NetConn().SetReadDeadline(time.Now()) })()
	for buf := make([]byte, slowBytes); ; {
		if pause(ctx, slowTick) != nil {
			return nil
		}
		if _, err := s.conn.Read(buf); err != nil && ctx.Err() == nil {
			return fmt.Errorf("reading slowly: %w", err)
		}
	}
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
