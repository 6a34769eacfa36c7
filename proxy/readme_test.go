package proxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

func TestReadmeListsOutcomes(t *testing.T) {
	testenv.Readme(t, "outcomes", outcomeTable(proxy.Outcomes()))
	testenv.Readme(t, "discovery outcomes", outcomeTable(proxy.DiscoveryOutcomes()))
}

func outcomeTable(outcomes []proxy.OutcomeInfo) string {
	var table strings.Builder
	table.WriteString("| status | outcome | when |\n|---|---|---|\n")
	for _, info := range outcomes {
		status := fmt.Sprint(info.Status)
		switch {
		case info.Outcome == proxy.TargetStatus:
			status = "the target's"
		case info.Status == 0:
			status = "none"
		}
		fmt.Fprintf(&table, "| %s | `%s` | %s |\n", status, info.Outcome, info.When)
	}
	return table.String()
}
