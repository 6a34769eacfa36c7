package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// row is one thing to measure; it may give several lines of the table.
type row struct {
	name    string
	measure func(ctx context.Context, b *bench) ([]result, error)
}

// rows are all that there is to measure.
func rows(short bool) []row {
	settle := 2 * time.Second
	if short {
		settle /= 10
	}
	var all []row
	for _, name := range []string{"small", "medium"} {
		for _, coding := range []string{codingGzip, codingPlain} {
			for _, conns := range []int{16, 64} {
				all = append(all, closed(load{body: bodyNamed(name), coding: coding, conns: conns}, atLeast(1.5), atMost(0.65)))
			}
		}
	}
	all = append(all,
		oneAtATime(load{body: bodyNamed("small"), coding: codingGzip, conns: 1}),
		closed(load{body: bodyNamed("large"), coding: codingPlain, conns: 16}, atLeast(1.1), atMost(0.85)),
		closed(load{body: bodyNamed("large"), coding: codingGzip, conns: 16}, atLeast(1.1), atMost(0.85)),
		closed(load{body: bodyNamed("huge"), coding: codingPlain, conns: 4}, atLeast(1.1), atMost(0.85)),
		steady(load{body: bodyNamed("small"), coding: codingGzip, conns: 16}, 200),
		slowReaders(load{body: bodyNamed("huge"), coding: codingPlain, conns: 8}, load{body: bodyNamed("small"), coding: codingGzip, conns: 16}),
		atOnce(load{body: bodyNamed("huge"), coding: codingPlain, conns: 4}, 55e6),
		tunnelBytes(load{body: bodyNamed("small"), coding: codingGzip, conns: 1}),
		atRest(settle),
		closed(load{body: bodyNamed("medium-known"), coding: codingPlain, conns: 16}, reach{}, reach{}),
		closed(load{body: bodyNamed("large-known"), coding: codingPlain, conns: 16}, reach{}, reach{}),
	)
	return all
}

func (l load) String() string {
	coding := l.coding
	if coding == codingPlain {
		coding = "plain"
	}
	return fmt.Sprintf("%s %s c%d", l.body.name, coding, l.conns)
}

// closed is a row of scrapers that scrape as fast as they are answered.
func closed(l load, rate, cpu reach) row {
	return row{l.String(), func(ctx context.Context, b *bench) ([]result, error) {
		samples, err := b.compare(ctx, l, (*crowd).measure, b.length)
		if err != nil {
			return nil, err
		}
		return []result{
			samples.result(l.String()+", scrapes/s", perSecond, rate, func(s sample) float64 { return s.rate }),
			samples.result(l.String()+", CPU per scrape", milliseconds, cpu, func(s sample) float64 { return s.cpu.Seconds() }),
		}, nil
	}}
}

// oneAtATime is the row of a single scraper.
func oneAtATime(l load) row {
	return row{l.String(), func(ctx context.Context, b *bench) ([]result, error) {
		samples, err := b.compare(ctx, l, (*crowd).measure, b.length)
		if err != nil {
			return nil, err
		}
		return []result{
			samples.result(l.String()+", median latency", microseconds, atMost(0.8), func(s sample) float64 {
				return quantile(s.latencies, 0.5).Seconds()
			}),
			samples.result(l.String()+", CPU per scrape", milliseconds, reach{}, func(s sample) float64 { return s.cpu.Seconds() }),
		}, nil
	}}
}

// steady is the row of a fleet that is far from what the machine can do: so many
// scrapes a second.
func steady(l load, rate int) row {
	name := fmt.Sprintf("%s %s, %d/s open loop", l.body.name, l.coding, rate)
	return row{name, func(ctx context.Context, b *bench) ([]result, error) {
		pace := func(c *crowd, ctx context.Context, warm, length time.Duration) (sample, error) {
			return c.pace(ctx, rate, warm, length)
		}
		samples, err := b.compare(ctx, l, pace, b.paced())
		if err != nil {
			return nil, err
		}
		return []result{
			samples.result(name+", p99 latency", microseconds, atMost(1), func(s sample) float64 { return quantile(s.latencies, 0.99).Seconds() }),
			samples.result(name+", median latency", microseconds, reach{}, func(s sample) float64 { return quantile(s.latencies, 0.5).Seconds() }),
			samples.result(name+", CPU per scrape", milliseconds, atMost(1), func(s sample) float64 { return s.cpu.Seconds() }),
		}, nil
	}}
}

// warm is how long a measurement runs before it counts.
func (b *bench) warm() time.Duration { return min(b.length/4, 300*time.Millisecond) }

// paced is how long one takes at a steady rate: longer than others, because the
// 99th percentile of few scrapes is chance.
func (b *bench) paced() time.Duration { return 2 * b.length }

// pairs are samples of base and sallyport, taken one after the other.
type pairs [][2]sample

// compare measures both subjects in turn, and each goes first as often as second.
func (b *bench) compare(ctx context.Context, l load,
	measure func(c *crowd, ctx context.Context, warm, length time.Duration) (sample, error), length time.Duration) (pairs, error) {
	var crowds [2]*crowd
	for i, s := range b.subjects {
		crowd, err := b.connect(ctx, s, l)
		if err != nil {
			return nil, err
		}
		defer crowd.close()
		crowds[i] = crowd
	}
	out := make(pairs, b.reps)
	for rep := range out {
		for i := range crowds {
			i = (i + rep) % 2
			var err error
			if out[rep][i], err = measure(crowds[i], ctx, b.warm(), length); err != nil {
				return nil, err
			}
		}
	}
	out.remark(b.log)
	return out, nil
}

// remark says what else took CPU: what it costs to scrape, for which both wait
// alike, and what disturbed them.
func (p pairs) remark(log io.Writer) {
	var rest [2][]float64
	var others float64
	for _, pair := range p {
		for i, s := range pair {
			rest[i] = append(rest[i], s.rest.Seconds())
			others = max(others, s.others)
		}
	}
	fmt.Fprintf(log, "  besides, scrapers and target took %s per scrape of the base, %s of sallyport; others had up to %.0f%% of the machine\n",
		milliseconds.format(median(rest[0])), milliseconds.format(median(rest[1])), 100*others)
}

// result is the line of the table for one value of the samples.
func (p pairs) result(name string, unit unit, reach reach, value func(sample) float64) result {
	r := result{name: name, unit: unit, reach: reach}
	for _, pair := range p {
		for i, sample := range pair {
			r.add(i, value(sample))
		}
	}
	return r
}

func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
