package testenv_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/seed-951114d4/sallyport/testenv"
)

// An example of a unit is verified by systemd's own tool, and its hardening measured.
func TestSystemdUnits(t *testing.T) {
	t.Parallel()
	analyze := testenv.Program(t, "systemd-analyze")
	dir := t.TempDir()
	for _, name := range deployed(t, "systemd", "sallyport-*") {
		// A program that is there: verify looks for it.
		text := regexp.MustCompile(`/usr/local/bin/sallyport-\w+`).ReplaceAllString(string(read(t, name)), "/bin/true")
		writeExample(t, filepath.Join(dir, filepath.Base(name)), text)
	}
	for _, daemon := range []string{"proxy", "agent"} {
		unit := filepath.Join(dir, "sallyport-"+daemon+".service")
		verify := exec.Command(analyze, "verify", unit, filepath.Join(dir, "sallyport-"+daemon+"-renewed.path"))
		if out, err := verify.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("verify: %v\n%s", err, out)
		}
		dropIn := unit + ".d"
		for _, form := range []string{"files", "SPIRE"} {
			if form == "SPIRE" {
				if err := os.Mkdir(dropIn, 0o700); err != nil {
					t.Fatal(err)
				}
				writeExample(t, filepath.Join(dropIn, "spire.conf"), string(read(t, deploy+"/systemd/spire.conf")))
			}
			// The threshold is ten times the exposure: 0 is none, 100 all.
			security := exec.Command(analyze, "security", "--offline=true", "--no-pager", "--threshold=15", unit)
			if out, err := security.CombinedOutput(); err != nil {
				t.Errorf("%s with %s is exposed: %v\n%s", daemon, form, err, out)
			}
		}
	}
}
