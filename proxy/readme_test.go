package proxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

func TestReadmeListsOutcomes(t *testing.T) {
	var table strings.Builder
	table.WriteString("| status | outcome | when |\n|---|---|---|\n")
	for _, info := range proxy.Outcomes() {
		status := fmt.Sprint(info.Status)
		switch {
		case info.Outcome == proxy.TargetStatus:
			status = "the target's"
		case info.Status == 0:
			status = "none"
		}
		fmt.Fprintf(&table, "| %s | `%s` | %s |\n", status, info.Outcome, info.When)
	}
	testenv.Readme(t, "outcomes", table.String())
}
