package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/seed-951114d4/sallyport/cmd/internal/release"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// command is one of the things that the tool does.
type command struct {
	name    string // as typed, in one or two words
	args    string // what may follow it
	summary string
	// operands is how many words it takes besides its flags.
	operands int
	// setup declares the flags and returns what to do once they are parsed.
	setup func(flags *flag.FlagSet) action
}

// call is what a command is given once its flags are parsed.
type call struct {
	operands []string
	stdin    io.Reader
	stdout   io.Writer
}

// action does what a command is for.
type action func(ctx context.Context, c call) error

func commands() []command {
	return []command{
		{"demo", "[--once]", "show the whole system on this machine", 0, demoCommand},
		{"pki init", "[flags]", "make a certificate authority to try things with", 0, initCommand},
		{"pki issue", "--role ROLE --id ID [flags]", "make a certificate for a proxy, an agent or a scraper", 0, issueCommand},
		{"policy check", "POLICY [--key FILE]", "tell whether a proxy would load a policy", 1, checkCommand},
		{"policy test", "DIR [--coverage]", "run the tests of a policy", 1, testCommand},
		{"policy eval", "POLICY [flags]", "ask a policy one question", 1, evalCommand},
		{"policy diff", "OLD NEW --routes FILE [flags]", "tell what a new policy would revoke", 2, diffCommand},
	}
}

// usageError is a mistake in what was typed.
type usageError struct{ error }

// answerNo is the answer of a command that answers by its exit status. It has been
// told already.
type answerNo struct{}

func (answerNo) Error() string { return "no" }

// undecided is the error of such a command that could not answer.
type undecided struct{ error }

// run does what the arguments say and returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return exitUsage
	}
	if help(args[0]) {
		usage(stdout)
		return exitOK
	}
	switch args[0] {
	case "-version", "--version", "version":
		if release.Print(stdout, "sallyport") != nil {
			return exitFailed
		}
		return exitOK
	}
	for _, c := range commands() {
		words := strings.Fields(c.name)
		if len(args) >= len(words) && strings.Join(args[:len(words)], " ") == c.name {
			return c.run(ctx, args[len(words):], call{stdin: stdin, stdout: stdout}, stderr)
		}
	}
	if group := inGroup(args[0]); len(group) > 0 && (len(args) == 1 || help(args[1])) {
		if len(args) == 1 {
			groupUsage(stderr, group)
			return exitUsage
		}
		groupUsage(stdout, group)
		return exitOK
	}
	fmt.Fprintf(stderr, "sallyport: no command %q\n\n", strings.Join(args[:min(2, len(args))], " "))
	usage(stderr)
	return exitUsage
}

func help(word string) bool { return slices.Contains([]string{"-h", "-help", "--help", "help"}, word) }

// inGroup returns the commands of two words that begin with one.
func inGroup(word string) []command {
	return slices.DeleteFunc(commands(), func(c command) bool { return !strings.HasPrefix(c.name, word+" ") })
}

func (c command) run(ctx context.Context, args []string, in call, stderr io.Writer) int {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // what went wrong is said once, below
	do := c.setup(flags)
	operands, err := parse(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.help(in.stdout, flags)
		return exitOK
	case err != nil:
		err = usageError{err}
	case len(operands) > c.operands:
		err = usageError{fmt.Errorf("unexpected argument %q", operands[c.operands])}
	case len(operands) < c.operands:
		err = usageError{fmt.Errorf("want %s", c.args)}
	default:
		in.operands = operands
		err = do(ctx, in)
	}
	return c.exit(err, stderr)
}

// parse takes flags before, between and behind the operands.
func parse(flags *flag.FlagSet, args []string) ([]string, error) {
	var operands []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return operands, nil
		}
		operands, args = append(operands, flags.Arg(0)), flags.Args()[1:]
	}
}

// exit tells the error and returns the exit status.
func (c command) exit(err error, stderr io.Writer) int {
	var (
		mistake usageError
		unclear undecided
		no      answerNo
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &no):
		return exitFailed
	case errors.As(err, &mistake):
		fmt.Fprintf(stderr, "sallyport %s: %v\nSee sallyport %s --help.\n", c.name, err, c.name)
		return exitUsage
	}
	fmt.Fprintf(stderr, "sallyport %s: %v\n", c.name, err)
	if errors.As(err, &unclear) {
		return exitUsage
	}
	return exitFailed
}

func usage(w io.Writer) {
	fmt.Fprint(w, "sallyport is the operator's tool of Sallyport, through which Prometheus scrapes\ntargets behind a firewall. The daemons are sallyport-proxy and sallyport-agent.\n\nUsage:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  sallyport %-12s  %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nEach command explains itself with --help. --version tells which build this is.\n")
}

func groupUsage(w io.Writer, group []command) {
	fmt.Fprint(w, "Usage:\n")
	for _, c := range group {
		fmt.Fprintf(w, "  sallyport %s %s\n      %s\n", c.name, c.args, c.summary)
	}
	fmt.Fprint(w, "\nEach explains itself with --help.\n")
}

func (c command) help(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprintf(w, "sallyport %s: %s\n\nUsage:\n  sallyport %s %s\n\nFlags:\n", c.name, c.summary, c.name, c.args)
	flags.VisitAll(func(f *flag.Flag) {
		argument, text := flag.UnquoteUsage(f)
		fmt.Fprintf(w, "  %s\n      %s", strings.TrimSpace("--"+f.Name+" "+argument), text)
		switch f.DefValue {
		case "", "false", "0s":
		default:
			fmt.Fprintf(w, " (default %s)", f.DefValue)
		}
		fmt.Fprintln(w)
	})
}
