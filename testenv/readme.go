package testenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Readme compares a part of the README that is made from the code with what the
// code says: the text between "<!-- begin name -->" and "<!-- end name -->".
// With UPDATE_README set it writes the part instead.
func Readme(tb testing.TB, name, want string) {
	tb.Helper()
	path := filepath.Join(root(tb), "README.md")
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
	before, rest, ok := strings.Cut(string(data), begin)
	have, after, ok2 := strings.Cut(rest, end)
	switch {
	case !ok || !ok2:
		tb.Fatalf("the README has no part %q", name)
	case have == want:
	case os.Getenv("UPDATE_README") != "":
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			tb.Fatal(err)
		}
	default:
		tb.Errorf("the README's %s differ from the code; make readme writes them. The code says:\n%s", name, want)
	}
}

// root is the module's folder.
func root(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("no go.mod above the test's folder")
		}
		dir = parent
	}
}
