package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// roles are what the program is when it starts itself again.
var roles = map[string]func(ctx context.Context, args []string) error{
	"target": runTarget,
	"inner":  runInner,
	"outer":  runOuter,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 {
		if role, ok := roles[os.Args[1]]; ok {
			stop() // a role ends at once
			exit(role(context.Background(), os.Args[2:]))
		}
	}
	o, err := parse()
	if err == nil {
		err = run(ctx, o, os.Stdout)
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parse() (options, error) {
	var o options
	rows := flag.String("rows", "", "measure only the rows whose name matches this regular expression")
	flag.IntVar(&o.reps, "reps", 5, "how often each row is measured, base and sallyport in turn")
	flag.DurationVar(&o.length, "for", 2*time.Second, "how long each measurement takes")
	flag.BoolVar(&o.short, "short", false, "be quick, compare every byte, and fail where memory or stalls are over their bounds")
	flag.StringVar(&o.out, "o", "bin/bench.md", "write the table to this file, too; empty: to none")
	flag.StringVar(&o.bin, "bin", "", "take sallyport-proxy and sallyport-agent from this folder instead of building them")
	flag.StringVar(&o.against, "against", "", "compare with the programs of this folder instead of the base")
	flag.Parse()
	if o.reps < 1 || o.length <= 0 || flag.NArg() > 0 {
		return o, fmt.Errorf("want at least one repetition of some length and no arguments")
	}
	var err error
	if o.rows, err = regexp.Compile(*rows); err != nil {
		return o, fmt.Errorf("parsing -rows: %w", err)
	}
	if o.short {
		o.reps, o.length = 1, 200*time.Millisecond
	}
	return o, nil
}
