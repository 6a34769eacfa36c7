package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// result is one line of the table: what each repetition gave.
type result struct {
	name       string
	unit       unit
	base, ours []float64 // base may be empty
	reach      reach
}

// unit says how a value is written.
type unit struct {
	name  string
	scale float64
	digit int
}

var (
	perSecond    = unit{"/s", 1, 0}
	milliseconds = unit{" ms", 1e3, 3}
	microseconds = unit{" us", 1e6, 0}
)

func (u unit) format(v float64) string {
	return fmt.Sprintf("%.*f%s", u.digit, v*u.scale, u.name)
}

// reach is what is to be reached; the zero value: nothing.
type reach struct {
	least, most float64 // of the ratio to the base
}

func atLeast(ratio float64) reach { return reach{least: ratio} }
func atMost(ratio float64) reach  { return reach{most: ratio} }

func (r reach) String() string {
	switch {
	case r.least > 0:
		return fmt.Sprintf(">= %g x", r.least)
	case r.most > 0:
		return fmt.Sprintf("<= %g x", r.most)
	}
	return ""
}

// met tells whether the result is what it must be; "" where nothing is asked.
func (r result) met() string {
	ratio := r.ratio()
	switch {
	case r.reach == reach{}:
		return ""
	case r.reach.least > 0 && ratio >= r.reach.least, r.reach.most > 0 && ratio <= r.reach.most:
		return "yes"
	}
	return "no"
}

// ratio is that of the medians.
func (r result) ratio() float64 { return median(r.ours) / median(r.base) }

// spread is the lowest and the highest ratio of any one repetition.
func (r result) spread() (low, high float64) {
	low, high = math.Inf(1), 0
	for i, base := range r.base {
		low, high = min(low, r.ours[i]/base), max(high, r.ours[i]/base)
	}
	return low, high
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// table is what the suite gives.
type table []result

func (t table) markdown() string {
	var out strings.Builder
	out.WriteString("| row | base | sallyport | ratio | reach | met? |\n|---|---|---|---|---|---|\n")
	for _, r := range t {
		low, high := r.spread()
		fmt.Fprintf(&out, "| %s | %s | %s | %.2f (%.2f..%.2f) | %s | %s |\n", r.name,
			r.unit.format(median(r.base)), r.unit.format(median(r.ours)), r.ratio(), low, high, r.reach, r.met())
	}
	return out.String()
}

// save writes the table to a file.
func (t table) save(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("writing table: %w", err)
	}
	if err := os.WriteFile(name, []byte(t.markdown()), 0o644); err != nil {
		return fmt.Errorf("writing table: %w", err)
	}
	return nil
}
