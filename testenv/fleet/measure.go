package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

// measure is the command.
func measure(ctx context.Context, o options) error {
	if err := checkDescriptors(o.sessions); err != nil {
		return err
	}
	s, err := newSite(o)
	if s != nil {
		defer s.close()
	}
	if err != nil {
		return err
	}
	o.dir = s.dir
	f := &fleet{options: o, proxy: newProxy(s, o)}
	if f.client, err = s.scraper(); err != nil {
		return err
	}
	if err := f.proxy.start(ctx); err != nil {
		return err
	}
	defer f.proxy.stop(syscall.SIGKILL)
	progress("making %d agents with %d routes each", o.sessions, o.routes)
	if f.crowd, err = startCrowd(s, o, f.proxy.tunnel); err != nil {
		return err
	}
	defer f.crowd.kill()
	return f.run(ctx)
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (f *fleet) run(ctx context.Context) error {
	empty, err := f.memory(ctx)
	if err != nil {
		return err
	}
	progress("all agents dial")
	first, err := f.watch(ctx, "first connect", func() error { _, err := f.crowd.ask("start"); return err })
	if err != nil {
		return err
	}
	loaded, err := f.memory(ctx)
	if err != nil {
		return err
	}
	progress("the fleet idles for %s", f.options.settle)
	calm, err := f.idle(ctx, f.options.settle)
	if err != nil {
		return err
	}
	settled, err := f.memory(ctx)
	if err != nil {
		return err
	}
	f.printMemory([]row{{"as soon as all routes are served", loaded.minus(empty)}, {fmt.Sprint("idle for ", f.options.settle), settled.minus(empty)}})

	comebacks := []*comeback{first}
	for _, restart := range []struct {
		name   string
		signal syscall.Signal
	}{{"after kill -9", syscall.SIGKILL}, {"after a clean stop", syscall.SIGTERM}} {
		progress("the proxy is restarted %s", restart.name)
		c, err := f.watch(ctx, restart.name, func() error {
			f.proxy.stop(restart.signal)
			return f.proxy.start(ctx)
		})
		if err != nil {
			return err
		}
		comebacks = append(comebacks, c)
	}
	f.printComebacks(calm, comebacks)
	return f.leave(ctx)
}

// leave kills the agents and waits until the proxy has noticed.
func (f *fleet) leave(ctx context.Context) error {
	progress("the agents are killed")
	full, err := f.memory(ctx)
	if err != nil {
		return err
	}
	f.crowd.kill()
	start := time.Now()
	for {
		m, err := f.proxy.read(ctx)
		switch {
		case err != nil:
			return err
		case m[sessions] == 0:
			left, err := f.memory(ctx)
			fmt.Printf("\nAgents killed: no session left after %s; goroutines %d -> %d, descriptors %d -> %d.\n",
				time.Since(start).Round(sampleEvery), full.goroutines, left.goroutines, full.descriptors, left.descriptors)
			return err
		case time.Since(start) > time.Minute:
			return errors.New("sessions of agents that are gone stay")
		}
		time.Sleep(sampleEvery)
	}
}

func (f *fleet) memory(ctx context.Context) (memory, error) {
	m, err := f.proxy.read(ctx)
	if err != nil {
		return memory{}, err
	}
	return memoryOf(f.proxy.cmd.Process.Pid, m)
}

type row struct {
	name string
	memory
}

func (f *fleet) printMemory(rows []row) {
	n := int64(f.options.sessions)
	fmt.Printf("%d sessions of %d routes, %d cores.\n\n", n, f.options.routes, runtime.NumCPU())
	fmt.Println("| proxy, per session | RSS | anonymous | heap in use | stacks | heap + stacks | goroutines |\n|---|---|---|---|---|---|---|")
	for _, r := range rows {
		kb := func(bytes int64) string { return fmt.Sprintf("%.1f KB", float64(bytes)/float64(n)/1000) }
		fmt.Printf("| %s | %s | %s | %s | %s | %s | %.2f |\n", r.name, kb(r.rss), kb(r.anonymous), kb(r.heap), kb(r.stacks),
			kb(r.heap+r.stacks), float64(r.goroutines)/float64(n))
	}
}

func (f *fleet) printComebacks(calm *scrapes, comebacks []*comeback) {
	fmt.Println("\n| | proxy listens | all sessions | all routes | attempts failed | handshakes failed | most sessions/s | slowest /metrics | CPU proxy + agents | scrapes answered / failed | first answer | median, p99 |\n|---|---|---|---|---|---|---|---|---|---|---|---|")
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
	quantiles := func(s *scrapes) string {
		return fmt.Sprintf("%.1f, %.1f ms", s.quantile(.5).Seconds()*1000, s.quantile(.99).Seconds()*1000)
	}
	fmt.Printf("| idle | | | | | | | | | %d / %d | | %s |\n", len(calm.latencies), len(calm.failures), quantiles(calm))
	for _, c := range comebacks {
		failures := 0
		for outcome, n := range c.scrapes.failures {
			failures += n
			progress("%s: %d scrapes of routes that were back: %s", c.name, n, outcome)
		}
		fmt.Printf("| %s | %s | %s | %s | %d | %.0f | %.0f | %s | %s + %s | %d / %d | %s | %s |\n", c.name, seconds(c.listening), seconds(c.sessions),
			seconds(c.routes), c.failed, c.handshakes, c.busiest, seconds(c.metrics), seconds(c.proxyCPU), seconds(c.crowdCPU),
			len(c.scrapes.latencies), failures, seconds(c.scrapes.first.Sub(c.begun)), quantiles(c.scrapes))
	}
}
