package daemon_test

import (
	"maps"
	"regexp"
	"slices"
	"testing"

	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/testenv"
)

// TestOthersAreComplete: what one daemon alone reads, the other knows to be that
// one's.
func TestOthersAreComplete(t *testing.T) {
	t.Parallel()
	read := make(map[string][]string)
	for _, program := range []string{daemon.Proxy, daemon.Agent} {
		help := testenv.Execute(t, nil, testenv.Build(t, program), "--help")
		stops(t, help, daemon.ExitStopped)
		for _, match := range regexp.MustCompile(`(?m)^  (SALLYPORT_\w+)`).FindAllStringSubmatch(help.Output(), -1) {
			read[program] = append(read[program], match[1])
		}
	}
	for program, other := range map[string]string{daemon.Proxy: daemon.Agent, daemon.Agent: daemon.Proxy} {
		var want []string
		for _, name := range read[other] {
			if !slices.Contains(read[program], name) {
				want = append(want, name)
			}
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(daemon.Others(program))); len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%s is told of %v, and %s alone reads %v", program, got, other, want)
		}
	}
}
