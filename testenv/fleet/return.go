package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// comeback is how a fleet came to a proxy that had none of it.
type comeback struct {
	name             string
	begun            time.Time
	listening        time.Duration // until the proxy listened
	sessions, routes time.Duration // until all were there
	failed           int64         // attempts that did not come to a session
	handshakes       float64       // failed at the proxy
	metrics          time.Duration // the longest that the proxy took to tell its metrics
	busiest          float64       // sessions per second, over the best half second
	proxyCPU         time.Duration
	crowdCPU         time.Duration
	scrapes          *scrapes
}

const sampleEvery = 250 * time.Millisecond

// fleet is all that is measured.
type fleet struct {
	options options
	proxy   *proxy
	crowd   *crowd
	client  *http.Client
}

// watch runs begin, which has the fleet come, and measures until all routes are
// served.
func (f *fleet) watch(ctx context.Context, name string, begin func() error) (*comeback, error) {
	c := &comeback{name: name}
	before, err := f.crowd.ask("count")
	if err != nil {
		return nil, err
	}
	proxyCPU, crowdCPU := f.proxy.cpu(), cpuOf(f.crowd.cmd.Process.Pid)
	start := time.Now()
	c.begun = start
	if err := begin(); err != nil {
		return nil, err
	}
	c.listening = time.Since(start)
	f.client.CloseIdleConnections()
	scraping, stop := context.WithCancel(ctx)
	scraped := make(chan *scrapes)
	go func() { scraped <- scrapeAll(scraping, f.client, "https://"+f.proxy.scrape, f.options) }()
	err = f.await(ctx, c, start)
	stop()
	c.scrapes = <-scraped
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.proxyCPU, c.crowdCPU = f.proxy.cpu()-proxyCPU, cpuOf(f.crowd.cmd.Process.Pid)-crowdCPU
	after, err := f.crowd.ask("count")
	c.failed = after.Failed - before.Failed
	return c, err
}

// await samples the proxy until it serves all routes.
func (f *fleet) await(ctx context.Context, c *comeback, start time.Time) error {
	const patience = 5 * time.Minute
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	var admitted []float64
	var at []time.Time
	for time.Since(start) < patience {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		asked := time.Now()
		m, err := f.proxy.read(ctx)
		c.metrics = max(c.metrics, time.Since(asked))
		if err != nil {
			progress("%s: %s", c.name, err)
			continue
		}
		admitted, at = append(admitted, m[allowed]), append(at, time.Now())
		if n := len(at); n > 2 {
			c.busiest = max(c.busiest, (admitted[n-1]-admitted[n-3])/at[n-1].Sub(at[n-3]).Seconds())
		}
		c.handshakes = m.sum("sallyport_proxy_handshake_failures_total")
		if c.sessions == 0 && m[sessions] >= float64(f.options.sessions) {
			c.sessions = time.Since(start)
		}
		if m[served] >= float64(f.options.sessions*f.options.routes) {
			c.routes = time.Since(start)
			return nil
		}
	}
	m, err := f.proxy.read(ctx)
	return fmt.Errorf("after %s there are %g sessions and %g routes (%w)", patience, m[sessions], m[served], err)
}

// idle lets the fleet rest, with a scrape now and then.
func (f *fleet) idle(ctx context.Context, long time.Duration) (*scrapes, error) {
	ctx, stop := context.WithTimeout(ctx, long)
	defer stop()
	s := scrapeAll(ctx, f.client, "https://"+f.proxy.scrape, f.options)
	if len(s.failures) > 0 {
		return s, fmt.Errorf("scrapes of an idle fleet failed: %v", s.failures)
	}
	return s, nil
}
