package main

import (
	"testing"

	"github.com/seed-951114d4/sallyport/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
