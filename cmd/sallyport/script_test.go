package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-951114d4/sallyport/cmd/internal/cmdtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sallyport": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	cmdtest.Run(t)
}
