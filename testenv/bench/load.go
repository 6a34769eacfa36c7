package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// compareEach is how many scrapes of a connection there are to one whose bytes
// are compared. Lengths are always.
const compareEach = 16

// load is what scrapers do: so many connections that scrape one body in one
// coding again and again.
type load struct {
	body    body
	coding  string
	conns   int
	control func(network, address string, c syscall.RawConn) error // nil: nothing
}

// sample is what one measurement of one subject gave.
type sample struct {
	rate      float64       // scrapes per second
	cpu       time.Duration // of both hops, per scrape
	rest      time.Duration // of the target and of us, per scrape
	others    float64       // share of the machine that what has no part in this used
	latencies []time.Duration
}

// crowd is the scrapers of a load, connected.
type crowd struct {
	subject  *subject
	target   *process
	scrapers []*scraper
	every    int // scrapes to one that is compared
}

// connect makes a crowd. The caller closes it.
func (b *bench) connect(ctx context.Context, s *subject, load load) (*crowd, error) {
	c := &crowd{subject: s, target: b.target, every: compareEach}
	if b.short {
		c.every = 1
	}
	for range load.conns {
		scraper, err := b.dial(ctx, s.addr, &load)
		if err != nil {
			c.close()
			return nil, err
		}
		c.scrapers = append(c.scrapers, scraper)
	}
	return c, nil
}

// close cuts the connections: where nothing is under way, nobody needs a farewell.
func (c *crowd) close() {
	for _, scraper := range c.scrapers {
		_ = scraper.conn.NetConn().Close()
	}
}

// measure lets all scrapers scrape, each as fast as it is answered, first to warm
// up, then for the time that counts.
func (c *crowd) measure(ctx context.Context, warm, length time.Duration) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, warm+length+measurePatience)
	defer cancel()
	defer context.AfterFunc(ctx, c.close)()
	var stopped, counting atomic.Bool
	var all sync.WaitGroup
	faults := make([]error, len(c.scrapers))
	latencies := make([][]time.Duration, len(c.scrapers))
	for i, scraper := range c.scrapers {
		all.Go(func() {
			latencies[i], faults[i] = c.run(scraper, &stopped, &counting)
		})
	}
	time.Sleep(warm)
	counting.Store(true)
	begin, err := c.read()
	time.Sleep(length)
	end, endErr := c.read()
	counting.Store(false)
	stopped.Store(true)
	all.Wait()
	if err := verdict(ctx, append(faults, err, endErr)); err != nil {
		return sample{}, fmt.Errorf("scraping %s: %w", c.subject.name, err)
	}
	s := end.sample(begin, len(c.scrapers[0].want))
	for _, some := range latencies {
		s.latencies = append(s.latencies, some...)
	}
	return s, nil
}

// verdict is why a measurement is worth nothing, in one line: it was broken off, or
// somebody's scrape failed, and then seldom nobody else's.
func verdict(ctx context.Context, faults []error) error {
	if err := ctx.Err(); err != nil {
		return err // the faults come of the connections that were cut for that
	}
	for _, err := range faults {
		if err != nil {
			return err
		}
	}
	return nil
}

// measurePatience is how much longer than planned a measurement may take.
const measurePatience = 60 * time.Second

// run scrapes until it is stopped and returns how long those scrapes took that
// ended while it counted.
func (c *crowd) run(s *scraper, stopped, counting *atomic.Bool) ([]time.Duration, error) {
	var latencies []time.Duration
	for n := 0; !stopped.Load(); n++ {
		begun := time.Now()
		if err := s.scrape(n%c.every == 0); err != nil {
			return nil, err
		}
		if counting.Load() {
			latencies = append(latencies, time.Since(begun))
		}
	}
	return latencies, nil
}
