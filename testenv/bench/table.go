package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// result is one line of the table: what each repetition gave.
type result struct {
	name       string
	unit       unit
	base, ours []float64
	reach      reach
	must       bool // the short form fails where it is not met
}

// add takes up what a repetition gave for one of the two.
func (r *result) add(which int, value float64) {
	if which == 0 {
		r.base = append(r.base, value)
	} else {
		r.ours = append(r.ours, value)
	}
}

// unit says how a value is written: with three digits or more.
type unit struct {
	name  string
	scale float64
}

var (
	perSecond    = unit{"/s", 1}
	milliseconds = unit{" ms", 1e3}
	microseconds = unit{" us", 1e6}
	megabytes    = unit{" MB", 1e-6}
	plainBytes   = unit{" B", 1}
	times        = unit{" x", 1}
)

func (u unit) format(v float64) string {
	v *= u.scale
	digits := 0
	for limit := 100.0; digits < 3 && v < limit; limit /= 10 {
		digits++
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + u.name
}

// reach is what is to be reached; the zero value: nothing.
type reach struct {
	least, most float64 // of the ratio to the base
	bound       float64 // of our own value, in its basic unit
}

func atLeast(ratio float64) reach { return reach{least: ratio} }
func atMost(ratio float64) reach  { return reach{most: ratio} }

func under(bound float64) reach { return reach{bound: bound} }

func (r reach) format(u unit) string {
	switch {
	case r.least > 0:
		return fmt.Sprintf(">= %g x base", r.least)
	case r.most > 0:
		return fmt.Sprintf("<= %g x base", r.most)
	case r.bound > 0:
		return fmt.Sprintf("<= %g%s", r.bound*u.scale, u.name)
	}
	return ""
}

// met tells whether the result is what it must be; "" where nothing is asked.
func (r result) met() string {
	ratio := r.ratio()
	switch {
	case r.reach == reach{}:
		return ""
	case r.reach.least > 0 && ratio >= r.reach.least, r.reach.most > 0 && ratio <= r.reach.most,
		r.reach.bound > 0 && median(r.ours) <= r.reach.bound:
		return "yes"
	}
	return "no"
}

// over tells whether our own value is far over its bound. A bound is a goal to the last
// page; what keeps whole bodies, or stalls, is over it by much more.
func (r result) over() bool { return median(r.ours) > 1.25*r.reach.bound }

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
type table struct {
	columns [2]string
	lines   []result
}

func (t table) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "| row | %s | %s | ratio | reach | met? |\n|---|---|---|---|---|---|\n", t.columns[0], t.columns[1])
	for _, r := range t.lines {
		low, high := r.spread()
		fmt.Fprintf(&out, "| %s | %s | %s | %.2f (%.2f..%.2f) | %s | %s |\n", r.name,
			r.unit.format(median(r.base)), r.unit.format(median(r.ours)), r.ratio(), low, high, r.reach.format(r.unit), r.met())
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
