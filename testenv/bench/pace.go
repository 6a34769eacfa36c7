package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// pacer is a scraper that scrapes when it is told to.
type pacer struct {
	*scraper
	due chan time.Time // of a scrape that has been asked for
}

// pace sends so many scrapes a second, whether or not earlier ones have been
// answered, as many Prometheus jobs together do. A latency counts from when the
// scrape was due, so that a subject that stalls does not also slow down the clock
// that finds it out.
func (c *crowd) pace(ctx context.Context, rate int, warm, length time.Duration) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, warm+length+measurePatience)
	defer cancel()
	defer context.AfterFunc(ctx, c.close)()
	from := time.Now().Add(warm)
	idle := make(chan *pacer, len(c.scrapers))
	var all sync.WaitGroup
	faults := make([]error, len(c.scrapers))
	latencies := make([][]time.Duration, len(c.scrapers))
	for i, s := range c.scrapers {
		p := &pacer{scraper: s, due: make(chan time.Time, 1)}
		idle <- p
		all.Go(func() { latencies[i], faults[i] = p.run(from, c.every, idle) })
	}
	begin, end, err := c.send(ctx, idle, from, rate, length)
	for range c.scrapers { // each comes back, at the latest when its connection is closed
		close((<-idle).due)
	}
	all.Wait()
	if err := verdict(ctx, append(faults, err)); err != nil {
		return sample{}, fmt.Errorf("scraping %s: %w", c.subject.name, err)
	}
	s := end.sample(begin, len(c.scrapers[0].want))
	for _, some := range latencies {
		s.latencies = append(s.latencies, some...)
	}
	return s, nil
}

// send asks for a scrape whenever one is due and reads the meter at both ends of
// the time that counts.
func (c *crowd) send(ctx context.Context, idle chan *pacer, from time.Time, rate int, length time.Duration) (begin, end meter, err error) {
	pause := time.Second / time.Duration(rate)
	counts := false
	for due := time.Now(); due.Before(from.Add(length)) && ctx.Err() == nil; due = due.Add(pause) {
		sleepUntil(due)
		if !counts && !due.Before(from) {
			counts = true
			if begin, err = c.read(); err != nil {
				return begin, end, err
			}
		}
		p := <-idle
		p.due <- due
		if err := p.ask(); err != nil {
			_ = p.conn.NetConn().Close() // its reader learns of it, too
		}
	}
	end, err = c.read()
	return begin, end, err
}

// run reads what has been asked for and returns how long it took, from when the
// time that counts began.
func (p *pacer) run(from time.Time, every int, idle chan<- *pacer) ([]time.Duration, error) {
	var latencies []time.Duration
	var fault error
	n := 0
	for due := range p.due {
		if fault == nil {
			fault = p.read(n%every == 0)
		}
		n++
		if !due.Before(from) {
			latencies = append(latencies, time.Since(due))
		}
		idle <- p
	}
	return latencies, fault
}
