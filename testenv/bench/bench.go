package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// options are the flags.
type options struct {
	rows    *regexp.Regexp
	reps    int
	length  time.Duration
	short   bool
	out     string
	bin     string
	against string
}

// bench is one run of the suite: the target, the two subjects and what they need.
type bench struct {
	options
	log    io.Writer
	dir    string
	certs  folder
	target *process
	bodies map[string][]byte

	starters [2]starter  // base, sallyport
	subjects [2]*subject // those that run all the time
}

// run measures all rows and writes the table.
func run(ctx context.Context, o options, stdout io.Writer) (err error) {
	b := &bench{options: o, log: os.Stderr, bodies: make(map[string][]byte)}
	if b.dir, err = os.MkdirTemp("", "sallyport-bench-"); err != nil {
		return fmt.Errorf("making folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	b.certs = folder(filepath.Join(b.dir, "certs"))
	if err := b.certs.mint(); err != nil {
		return err
	}
	if b.bin == "" {
		b.bin = filepath.Join(b.dir, "bin")
		if err := build(ctx, b.bin); err != nil {
			return err
		}
	}
	if b.target, err = b.startRole(ctx, "target"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.target.stop()) }()
	b.starters = [2]starter{b.startBase, b.sallyport(b.bin, "sallyport")}
	if b.against != "" {
		b.starters[0] = b.sallyport(b.against, "against")
	}
	for i, start := range b.starters {
		if b.subjects[i], err = start(ctx, directly); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.subjects[i].stop()) }()
	}
	return b.measureRows(ctx, stdout)
}

// measureRows measures what was asked for and writes the table, also when it is
// broken off.
func (b *bench) measureRows(ctx context.Context, stdout io.Writer) error {
	table := table{columns: [2]string{b.subjects[0].name, b.subjects[1].name}}
	var faults []error
	for _, row := range rows(b.short) {
		if !b.rows.MatchString(row.name) {
			continue
		}
		fmt.Fprintf(b.log, "%s\n", row.name)
		results, err := row.measure(ctx, b)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", row.name, err))
			break
		}
		for _, r := range results {
			if b.short && r.must && r.over() {
				faults = append(faults, fmt.Errorf("%s: %s is not %s", r.name, r.unit.format(median(r.ours)), r.reach.format(r.unit)))
			}
			if b.against != "" {
				r.reach = reach{} // is of the ratio to the base
			}
			table.lines = append(table.lines, r)
		}
	}
	if _, err := io.WriteString(stdout, table.markdown()); err != nil {
		faults = append(faults, fmt.Errorf("writing table: %w", err))
	}
	if b.out != "" && len(faults) == 0 {
		faults = append(faults, table.save(b.out))
	}
	return errors.Join(faults...)
}

// expected is the body that a load's scrapes must give.
func (b *bench) expected(l *load) ([]byte, error) {
	key := l.body.name + " " + l.coding
	if want, ok := b.bodies[key]; ok {
		return want, nil
	}
	want, err := l.body.encoded(l.coding)
	if err != nil {
		return nil, err
	}
	b.bodies[key] = want
	return want, nil
}
