package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// fresh measures each subject from its start, in turn, and stops it again. What
// a process holds depends on all that it has done, so that those which run all the
// time would not do.
func (b *bench) fresh(ctx context.Context, reps int, measure func(ctx context.Context, which int, s *subject) error) error {
	for rep := range reps {
		for i := range b.starters {
			i = (i + rep) % 2
			s, err := b.starters[i](ctx, directly)
			if err != nil {
				return err
			}
			if err := errors.Join(measure(ctx, i, s), s.stop()); err != nil {
				return fmt.Errorf("measuring %s: %w", s.name, err)
			}
		}
	}
	return nil
}

// atOnce is the row of the most memory that both hops ever held, when each
// connection has had the body once.
func atOnce(l load, most float64) row {
	name := l.String() + " at once, peak memory of both hops"
	return row{name, func(ctx context.Context, b *bench) ([]result, error) {
		r := result{name: name, unit: megabytes, reach: under(most), must: true}
		err := b.fresh(ctx, b.reps, func(ctx context.Context, which int, s *subject) error {
			c, err := b.connect(ctx, s, l)
			if err != nil {
				return err
			}
			defer c.close()
			if err := c.once(ctx); err != nil {
				return err
			}
			m, err := s.memory()
			r.add(which, float64(m.peak))
			return err
		})
		return []result{r}, err
	}}
}

// once lets each scraper scrape one time, all together.
func (c *crowd) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, measurePatience)
	defer cancel()
	defer context.AfterFunc(ctx, c.close)()
	faults := make(chan error, len(c.scrapers))
	for _, s := range c.scrapers {
		go func() { faults <- s.scrape(true) }()
	}
	var all []error
	for range c.scrapers {
		all = append(all, <-faults)
	}
	return verdict(ctx, all)
}

// atRest is the row of daemons that have started, connected and done nothing.
func atRest(settle time.Duration) row {
	return row{"at rest", func(ctx context.Context, b *bench) ([]result, error) {
		lines := []result{
			{name: "agent (inner hop) at rest, resident memory", unit: megabytes, reach: under(16e6)},
			{name: "agent (inner hop) at rest, of it private", unit: megabytes},
			{name: "proxy (outer hop) at rest, resident memory", unit: megabytes},
			{name: "proxy (outer hop) at rest, of it private", unit: megabytes},
		}
		err := b.fresh(ctx, b.reps, func(ctx context.Context, which int, s *subject) error {
			if err := pause(ctx, settle); err != nil {
				return err
			}
			inner, err := s.inner.memory()
			if err != nil {
				return err
			}
			outer, err := s.outer.memory()
			for i, value := range []int64{inner.resident, inner.private, outer.resident, outer.private} {
				lines[i].add(which, float64(value))
			}
			return err
		})
		return lines, err
	}}
}
