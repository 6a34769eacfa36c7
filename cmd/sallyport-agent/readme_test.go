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
	testenv.Readme(t, "agent variables", table.String())
}
