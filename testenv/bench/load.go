package main

import (
	"context"
	"errors"
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
	latencies []time.Duration
}

// crowd is the scrapers of a load, connected.
type crowd struct {
	subject  *subject
	scrapers []*scraper
	every    int // scrapes to one that is compared
}

// connect makes a crowd that is closed when ctx ends.
func (b *bench) connect(ctx context.Context, s *subject, load load) (*crowd, error) {
	c := &crowd{subject: s, every: compareEach}
	if b.short {
		c.every = 1
	}
	for range load.conns {
		scraper, err := b.dial(ctx, s.addr, &load)
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.scrapers = append(c.scrapers, scraper)
	}
	return c, nil
}

func (c *crowd) close() error {
	for _, scraper := range c.scrapers {
		_ = scraper.conn.NetConn().Close() // no farewell: nothing is under way
	}
	return nil
}

// measure lets all scrapers scrape, each as fast as it is answered, first to warm
// up, then for the time that counts.
func (c *crowd) measure(ctx context.Context, warm, length time.Duration) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, warm+length+measurePatience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.close() })()
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
	window, err := c.open()
	if err == nil {
		time.Sleep(length)
		err = window.close(c)
	}
	counting.Store(false)
	stopped.Store(true)
	all.Wait()
	if err := errors.Join(append(faults, err, ctx.Err())...); err != nil {
		return sample{}, fmt.Errorf("scraping %s: %w", c.subject.name, err)
	}
	s := window.sample(len(c.scrapers[0].want))
	for _, some := range latencies {
		s.latencies = append(s.latencies, some...)
	}
	return s, nil
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

// window is a time in which scrapes and CPU are counted. Scrapes are counted by
// the bytes that have come, so that one that is half done at either end counts
// for half.
type window struct {
	begun time.Time
	took  time.Duration
	cpu   time.Duration
	bytes int64
}

func (c *crowd) open() (*window, error) {
	cpu, err := c.subject.cpu()
	return &window{begun: time.Now(), cpu: cpu, bytes: c.bytes()}, err
}

func (w *window) close(c *crowd) error {
	cpu, err := c.subject.cpu()
	w.took, w.cpu, w.bytes = time.Since(w.begun), cpu-w.cpu, c.bytes()-w.bytes
	return err
}

func (w *window) sample(size int) sample {
	scrapes := float64(w.bytes) / float64(size)
	return sample{rate: scrapes / w.took.Seconds(), cpu: time.Duration(float64(w.cpu) / scrapes)}
}

func (c *crowd) bytes() int64 {
	var sum int64
	for _, scraper := range c.scrapers {
		sum += scraper.got.Load()
	}
	return sum
}
