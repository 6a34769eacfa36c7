package main

import (
	"runtime"
	"time"
)

// meter is what has been used and done so far.
type meter struct {
	at      time.Time
	hops    time.Duration // CPU
	rest    time.Duration // CPU of the target and of us
	machine time.Duration // CPU of all that runs
	bytes   int64
}

func (c *crowd) read() (meter, error) {
	m := meter{at: time.Now(), bytes: c.bytes()}
	var err error
	if m.hops, err = c.subject.cpu(); err != nil {
		return m, err
	}
	target, err := c.target.cpu()
	if err != nil {
		return m, err
	}
	own, err := ownCPU()
	if err != nil {
		return m, err
	}
	m.rest = target + own
	m.machine, err = machineCPU()
	return m, err
}

// sample is what lies between two readings. Scrapes are counted by the bytes that
// have come, so that one that is half done at either end counts for half.
func (m meter) sample(before meter, size int) sample {
	scrapes := float64(m.bytes-before.bytes) / float64(size)
	took := m.at.Sub(before.at)
	used := m.hops - before.hops + m.rest - before.rest
	return sample{
		rate:   scrapes / took.Seconds(),
		cpu:    time.Duration(float64(m.hops-before.hops) / scrapes),
		rest:   time.Duration(float64(m.rest-before.rest) / scrapes),
		others: max(0, (m.machine-before.machine-used).Seconds()) / took.Seconds() / float64(runtime.NumCPU()),
	}
}

func (c *crowd) bytes() int64 {
	var sum int64
	for _, scraper := range c.scrapers {
		sum += scraper.got.Load()
	}
	return sum
}
