package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/policy"
)

const keyHelp = "public key in a `FILE`: the policy must be a bundle that is signed with it"

func checkCommand(flags *flag.FlagSet) action {
	key := flags.String("key", "", keyHelp)
	return func(ctx context.Context, c call) error {
		place, err := policy.Find(c.operands[0], *key)
		if err != nil {
			return err
		}
		// As the proxy loads it, with what only a keeper judges.
		keeper, err := authz.NewKeeper(ctx, place, authz.Options{}, slog.New(slog.DiscardHandler), prom.NewRegistry())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.stdout, "good: %s\n", policy.Describe(keeper.Status()))
		return err
	}
}

// load compiles a policy of that name.
func load(ctx context.Context, name, key string) (*authz.Policy, error) {
	place, err := policy.Find(name, key)
	if err != nil {
		return nil, err
	}
	return authz.Load(ctx, place, authz.Options{})
}

func testCommand(flags *flag.FlagSet) action {
	coverage := flags.Bool("coverage", false, "tell which lines no test reaches")
	verbose := flags.Bool("v", false, "list the tests that pass, too")
	return func(ctx context.Context, c call) error {
		files, err := policy.Files(c.operands[0])
		if err != nil {
			return err
		}
		report, err := authz.Test(ctx, files)
		if err != nil {
			return err
		}
		tellTests(c.stdout, report, *verbose)
		if *coverage {
			tellCoverage(c.stdout, report)
		}
		if !report.Passed() {
			return answerNo{}
		}
		return nil
	}
}

func tellTests(w io.Writer, report authz.TestReport, verbose bool) {
	outcomes := make(map[authz.TestOutcome]int)
	for _, test := range report.Tests {
		outcomes[test.Outcome]++
		if test.Outcome == authz.TestPassed && !verbose {
			continue
		}
		fmt.Fprintf(w, "%-7s %s  %s:%d\n", test.Outcome, test.Name, test.File, test.Line)
		if test.Message != "" {
			fmt.Fprintf(w, "        %s\n", strings.ReplaceAll(test.Message, "\n", "\n        "))
		}
	}
	if len(report.Tests) == 0 {
		fmt.Fprintln(w, "no tests: they are rules named test_… in files named …_test.rego")
		return
	}
	fmt.Fprintf(w, "%d passed, %d failed", outcomes[authz.TestPassed], outcomes[authz.TestFailed]+outcomes[authz.TestError])
	if skipped := outcomes[authz.TestSkipped]; skipped > 0 {
		fmt.Fprintf(w, ", %d skipped", skipped)
	}
	fmt.Fprintln(w)
}

func tellCoverage(w io.Writer, report authz.TestReport) {
	fmt.Fprintf(w, "coverage %.1f %% of the lines\n", 100*report.Coverage())
	for _, file := range report.Files {
		if len(file.NotCovered) == 0 {
			continue
		}
		var spans []string
		for _, lines := range file.NotCovered {
			span := fmt.Sprint(lines.First)
			if lines.Last > lines.First {
				span += fmt.Sprintf("-%d", lines.Last)
			}
			spans = append(spans, span)
		}
		fmt.Fprintf(w, "  %s: no test reaches line %s\n", file.File, strings.Join(spans, ", "))
	}
}
