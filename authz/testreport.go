package authz

import (
	"time"

	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"
)

// TestReport is what came of the tests of a policy.
type TestReport struct {
	Tests []TestResult   // by file and line
	Files []FileCoverage // by name: the files with rules, not those with tests
}

// TestResult is what came of one rule whose name begins with test_, or with
// todo_test_, which skips it.
type TestResult struct {
	Name     string // as in data.sallyport.register_test.test_own_prefix
	File     string
	Line     int
	Outcome  TestOutcome
	Message  string // why, where the outcome is an error
	Output   string // what it printed
	Duration time.Duration
}

// TestOutcome is "passed", "failed", "error" or "skipped".
type TestOutcome string

// A test fails where it is not true, and is an error where it could not be decided: a
// conflict, a builtin that fails, more than five seconds.
const (
	TestPassed  TestOutcome = "passed"
	TestFailed  TestOutcome = "failed"
	TestError   TestOutcome = "error"
	TestSkipped TestOutcome = "skipped"
)

// FileCoverage is what the tests reached of one file: of its rules and the
// expressions in them. A line is in one of the lists, in neither if it holds nothing
// to reach.
type FileCoverage struct {
	File       string
	Covered    []Lines
	NotCovered []Lines
}

// Lines are those from First to Last.
type Lines struct{ First, Last int }

// Passed says that no test failed. A policy without tests passes.
func (r TestReport) Passed() bool {
	for _, t := range r.Tests {
		if t.Outcome == TestFailed || t.Outcome == TestError {
			return false
		}
	}
	return true
}

// Coverage is the share of the lines that the tests reached, from 0 to 1. Where there
// is nothing to reach it is 1.
func (r TestReport) Coverage() float64 {
	covered, all := 0, 0
	for _, f := range r.Files {
		n := count(f.Covered)
		covered += n
		all += n + count(f.NotCovered)
	}
	if all == 0 {
		return 1
	}
	return float64(covered) / float64(all)
}

func count(lines []Lines) (n int) {
	for _, l := range lines {
		n += l.Last - l.First + 1
	}
	return n
}

func testResult(r *tester.Result) TestResult {
	t := TestResult{
		Name: r.Package + "." + r.Name, File: r.Location.File, Line: r.Location.Row,
		Outcome: TestPassed, Output: string(r.Output), Duration: r.Duration,
	}
	switch {
	case r.Skip:
		t.Outcome = TestSkipped
	case r.Error != nil:
		t.Outcome, t.Message = TestError, r.Error.Error()
	case r.Fail:
		t.Outcome = TestFailed
	}
	return t
}

// fileCoverage goes by lines. One that was reached in part was not.
func fileCoverage(name string, r *cover.FileReport) FileCoverage {
	f := FileCoverage{File: name}
	if r == nil {
		return f
	}
	const reached, missed = 1, 2
	var marks []byte // by line
	mark := func(ranges []cover.Range, as byte) {
		for _, rng := range ranges {
			for row := rng.Start.Row; row <= rng.End.Row; row++ {
				for len(marks) <= row {
					marks = append(marks, 0)
				}
				marks[row] = as
			}
		}
	}
	mark(r.Covered, reached)
	mark(r.NotCovered, missed)
	for row, as := range marks {
		switch as {
		case reached:
			f.Covered = addLine(f.Covered, row)
		case missed:
			f.NotCovered = addLine(f.NotCovered, row)
		}
	}
	return f
}

func addLine(lines []Lines, row int) []Lines {
	if n := len(lines); n > 0 && lines[n-1].Last == row-1 {
		lines[n-1].Last = row
		return lines
	}
	return append(lines, Lines{First: row, Last: row})
}
