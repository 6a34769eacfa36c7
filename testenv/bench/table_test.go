package main

import (
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	t.Parallel()
	table := table{columns: [2]string{"base", "sallyport"}, lines: []result{
		{name: "rate", unit: perSecond, base: []float64{100, 90, 300}, ours: []float64{150, 180, 150}, reach: atLeast(1.5)},
		{name: "cpu", unit: milliseconds, base: []float64{0.002, 0.004}, ours: []float64{0.001, 0.002}, reach: atMost(0.4)},
		{name: "held", unit: megabytes, base: []float64{80e6}, ours: []float64{55e6}, reach: under(55e6)},
		{name: "said", unit: plainBytes, base: []float64{100}, ours: []float64{301}, reach: under(300)},
		{name: "shown", unit: microseconds, base: []float64{100e-6}, ours: []float64{99.5e-6}},
	}}
	want := `
| row | base | sallyport | ratio | reach | met? |
|---|---|---|---|---|---|
| rate | 100/s | 150/s | 1.50 (0.50..2.00) | >= 1.5 x base | yes |
| cpu | 3.00 ms | 1.50 ms | 0.50 (0.50..0.50) | <= 0.4 x base | no |
| held | 80.0 MB | 55.0 MB | 0.69 (0.69..0.69) | <= 55 MB | yes |
| said | 100 B | 301 B | 3.01 (3.01..3.01) | <= 300 B | no |
| shown | 100 us | 99.5 us | 0.99 (0.99..0.99) |  |  |
`
	if got := table.markdown(); got != strings.TrimPrefix(want, "\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	var all []time.Duration
	for i := range 100 {
		all = append(all, time.Duration(100-i))
	}
	for q, want := range map[float64]time.Duration{0.5: 51, 0.99: 100, 1: 100} {
		if got := quantile(all, q); got != want {
			t.Errorf("quantile %g is %d, not %d", q, got, want)
		}
	}
}
