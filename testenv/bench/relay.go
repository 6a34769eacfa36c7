package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
)

// relay stands between the two hops and counts what passes, both ways: TLS
// records as they are on the wire, without the kernel's headers.
type relay struct {
	listener net.Listener
	to       string
	bytes    atomic.Int64
}

// newRelay opens a relay that is closed when ctx ends.
func newRelay(ctx context.Context, to string) (*relay, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening relay: %w", err)
	}
	r := &relay{listener: listener, to: to}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go r.accept(ctx)
	return r, nil
}

func (r *relay) accept(ctx context.Context) {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		var dialer net.Dialer
		far, err := dialer.DialContext(ctx, "tcp", r.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		context.AfterFunc(ctx, func() { _, _ = near.Close(), far.Close() })
		go r.copy(near, far)
		go r.copy(far, near)
	}
}

func (r *relay) copy(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		r.bytes.Add(int64(n))
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// tunnelBytes is the row of what a scrape costs between the hops beside its body.
func tunnelBytes(l load) row {
	name := l.String() + ", bytes beside the body between the hops"
	return row{name, func(ctx context.Context, b *bench) ([]result, error) {
		r := result{name: name, unit: plainBytes, reach: under(300), must: true}
		for i, start := range b.starters {
			overhead, err := b.overhead(ctx, start, l)
			if err != nil {
				return nil, err
			}
			r.add(i, overhead)
		}
		return []result{r}, nil
	}}
}

// overhead counts with one connection that has been in use for a while. It needs no
// repetition: a count has no noise.
func (b *bench) overhead(ctx context.Context, start starter, l load) (bytes float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, measurePatience)
	defer cancel()
	var between *relay
	s, err := start(ctx, func(addr string) (string, error) {
		var err error
		if between, err = newRelay(ctx, addr); err != nil {
			return "", err
		}
		return between.listener.Addr().String(), nil
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	c, err := b.connect(ctx, s, l)
	if err != nil {
		return 0, err
	}
	defer c.close()
	defer context.AfterFunc(ctx, c.close)()
	one := c.scrapers[0]
	times := 1000
	if b.short {
		times = 300
	}
	var before int64
	for n := range 2 * times {
		if n == times {
			before = between.bytes.Load()
		}
		if err := one.scrape(true); err != nil {
			return 0, fmt.Errorf("scraping %s: %w", s.name, err)
		}
	}
	return float64(between.bytes.Load()-before)/float64(times) - float64(len(one.want)), nil
}
