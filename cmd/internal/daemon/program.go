// Package daemon is what the mains of the proxy and the agent share: arguments,
// configuration, exit status, the order of starting and stopping. It knows
// neither of the two.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/config"
	"github.com/seed-951114d4/sallyport/cmd/internal/logging"
	"github.com/seed-951114d4/sallyport/cmd/internal/release"
)

// Exit statuses.
const (
	ExitStopped       = 0 // stopped because it was asked to
	ExitFailed        = 1 // failed while running
	ExitMisconfigured = 2
)

// Job is a daemon that is configured and has not begun.
type Job interface {
	// Check finds out what can only be found by asking, and describes the whole.
	Check(ctx context.Context, w io.Writer) error
	// Run works until ctx ends, drains, and returns nil.
	Run(ctx context.Context) error
}

// Program is a daemon as its command describes it.
type Program struct {
	Name    string
	Summary string // what it does, in whole sentences
	// Settings points to the struct of all variables, and Logging into it.
	Settings any
	Logging  *logging.Config
	// Prepare makes the job from the settings: it judges them, and reads every
	// file that they name. All that it finds wrong goes to faults, and then there
	// is no job. It starts nothing.
	Prepare func(ctx context.Context, log *slog.Logger, faults *config.Faults) Job
}

// Main does what the arguments say and returns the exit status.
func (p Program) Main(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	check := false
	switch word := strings.Join(args, " "); word {
	case "":
	case "check":
		check = true
	case "--help", "-help", "-h":
		return status(p.help(stdout))
	case "--version", "-version":
		return status(release.Print(stdout, p.Name))
	default:
		fmt.Fprintf(stderr, "%s: unexpected arguments %q: it takes check, --help, --version or nothing; all configuration is in the environment\n", p.Name, word)
		return ExitMisconfigured
	}
	faults := config.LoadBeside(environ, others(p.Name), p.Settings)
	log, warnings := logging.New(stderr, *p.Logging), logging.NewWarnings()
	if check {
		log = slog.New(warnings) // people read what check writes
	}
	// Libraries that know no logger but the standard one, net/http among them,
	// shall not write lines of another form.
	slog.SetDefault(log)
	job := p.Prepare(ctx, log, faults)
	if ctx.Err() != nil && !check {
		// Asked to stop so early that what Prepare found may be no more than that.
		return ExitStopped
	}
	if err := faults.Err(); err != nil {
		p.complain(stderr, err)
		return ExitMisconfigured
	}
	if check {
		return p.check(ctx, job, warnings, stdout, stderr)
	}
	return p.run(ctx, environ, job, log)
}

func (p Program) check(ctx context.Context, job Job, warnings *logging.Warnings, stdout, stderr io.Writer) int {
	err := job.Check(ctx, stdout)
	var outage *outageError
	switch {
	case errors.As(err, &outage):
		fmt.Fprintf(stderr, "%s: the check could not be finished: %v\n", p.Name, outage)
		return ExitFailed
	case err != nil:
		p.complain(stderr, err)
		return ExitMisconfigured
	}
	for _, line := range warnings.Lines() {
		fmt.Fprintf(stdout, "warning       %s\n", line)
	}
	return status(write(stdout, "the configuration is good\n"))
}

func (p Program) run(ctx context.Context, environ []string, job Job, log *slog.Logger) int {
	log.Info("starting", "program", p.Name, "version", release.Version())
	err := attended(ctx, environ, job)
	var choice *authn.SVIDChoiceError
	switch {
	case err == nil:
		log.Info("stopped")
		return ExitStopped
	case errors.As(err, &choice):
		log.Error("wrong configuration", "error", err)
		return ExitMisconfigured
	}
	log.Error("failed", "error", err)
	return ExitFailed
}

// attended runs the job on as many cores as it needs.
func attended(ctx context.Context, environ []string, job Job) error {
	// What Prepare needed is a multiple of what is kept of it: compiling a policy leaves
	// megabytes, which a daemon at rest would hold for as long as it runs.
	debug.FreeOSMemory()
	following, stop := context.WithCancel(context.WithoutCancel(ctx)) // while it drains, too
	var wg sync.WaitGroup
	wg.Go(func() { followLoad(following, environ) })
	defer wg.Wait()
	defer stop()
	return job.Run(ctx)
}

// complain lists faults for people: a line for each, further lines indented.
func (p Program) complain(w io.Writer, err error) {
	faults := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		faults = joined.Unwrap()
	}
	noun := "faults"
	if len(faults) == 1 {
		noun = "fault"
	}
	fmt.Fprintf(w, "%s: %d %s in the configuration:\n", p.Name, len(faults), noun)
	for _, fault := range faults {
		fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(strings.TrimSpace(fault.Error()), "\n", "\n    "))
	}
	fmt.Fprintf(w, "See %s --help.\n", p.Name)
}

func (p Program) help(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, `%s

Usage:
  %s            run until SIGINT or SIGTERM, then drain
  %[2]s check      validate configuration, certificates and what else is loaded, and exit
  %[2]s --help     print this
  %[2]s --version  print which build this is

Exit status: 0 a clean stop, 1 failed while running or a check that could not be
finished, 2 wrong configuration.

All configuration is in environment variables. One that is set but empty counts
as not set. Durations and sizes have units, as in 10s and 64MiB.

`, p.Summary, p.Name)
	if err := config.Help(&text, p.Settings); err != nil {
		return err
	}
	return write(w, text.String())
}

func write(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

// status is for what only writes to standard output.
func status(err error) int {
	if err != nil {
		return ExitFailed
	}
	return ExitStopped
}
