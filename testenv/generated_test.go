package testenv_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestGeneratedCodeIsCurrent writes the code of the wire contract anew and
// compares it with what is committed.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	t.Parallel()
	fresh := t.TempDir()
	cmd := exec.Command("go", "run", "./proto/generate", fresh)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("generating: %v\n%s", err, out)
	}
	want, got := generated(t, fresh), generated(t, "..")
	if len(want) == 0 {
		t.Fatal("the generator wrote nothing")
	}
	if !slices.Equal(want, got) {
		t.Errorf("committed %v, generated %v: run make proto", got, want)
	}
	for _, name := range want {
		if !bytes.Equal(read(t, filepath.Join(fresh, name)), read(t, filepath.Join("..", name))) {
			t.Errorf("%s differs from what its schema generates: run make proto", name)
		}
	}
}

// generated lists the generated files below root/proto, relative to root.
func generated(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(filepath.Join(root, "proto"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".pb.go") {
			var name string
			if name, err = filepath.Rel(root, path); err == nil {
				names = append(names, name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
