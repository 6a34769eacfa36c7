package main

import (
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/cmd/internal/config"
	"github.com/seed-951114d4/sallyport/testenv"
)

func TestReadmeListsVariables(t *testing.T) {
	t.Parallel()
	var table strings.Builder
	if err := config.Table(&table, &settings{}); err != nil {
		t.Fatal(err)
	}
	// Those of tracing have a table that both daemons share.
	own := new(strings.Builder)
	for line := range strings.Lines(table.String()) {
		if !strings.HasPrefix(line, "| `OTEL_") {
			own.WriteString(line)
		}
	}
	testenv.Readme(t, "agent variables", own.String())
}
