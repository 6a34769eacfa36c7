package testenv_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
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

// Whoever follows the heads of the files has installed all of them, and enabled what
// does nothing before it is.
func TestSystemdFilesSayHowToInstallThem(t *testing.T) {
	t.Parallel()
	var installed, enabled string
	names := deployed(t, "systemd", "*")
	for _, name := range names {
		for _, line := range regexp.MustCompile(`(?m)^# {3}(install|systemctl enable) .*$`).FindAllStringSubmatch(string(read(t, name)), -1) {
			if line[1] == "install" {
				installed += line[0] + " "
			} else {
				enabled += line[0] + " "
			}
		}
	}
	for _, name := range names {
		base := filepath.Base(name)
		if !strings.Contains(installed, " "+base+" ") {
			t.Errorf("nothing says how to install %s", base)
		}
		if strings.Contains(string(read(t, name)), "[Install]") && !strings.Contains(enabled, " "+base+" ") {
			t.Errorf("nothing says to enable %s", base)
		}
	}
}

// A daemon that crashes is started again: it must not end by the status of a wrong
// configuration, as Go's runtime has it by default.
func TestCrashIsNoWrongConfiguration(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	own := map[string][]string{
		"sallyport-proxy": append(s.files("proxy", proxyLeaf), "SALLYPORT_TUNNEL_ADDR=127.0.0.1:0", "SALLYPORT_SCRAPE_ADDR=127.0.0.1:0"),
		"sallyport-agent": append(s.files("agent", agentLeaf), "SALLYPORT_PROXY_ADDRS=127.0.0.1:1", "SALLYPORT_PROXY_ID="+testenv.ID("proxy"), "SALLYPORT_TARGETS=/team-a/node=self"),
	}
	for _, p := range systemdPlaces(t) {
		unit := string(read(t, deploy+"/systemd/"+p.program+".service"))
		for _, line := range []string{"Restart=on-failure", "RestartPreventExitStatus=2", "LimitCORE=0"} {
			if !strings.Contains(unit, "\n"+line+"\n") {
				t.Errorf("%s: no %s, which is what this tests", p.program, line)
			}
		}
		env := append(own[p.program], "SALLYPORT_ADMIN_ADDR=off", "GOTRACEBACK="+p.env["GOTRACEBACK"])
		daemon := testenv.Execute(t, env, "/bin/sh", "-c", "ulimit -c 0 && exec "+testenv.Build(t, p.program))
		daemon.Await(`"identity"`)
		daemon.Signal(syscall.SIGSEGV) // which Go's runtime takes for a fault of the program
		// -1 is a signal.
		if status, err := daemon.Exit(); err != nil || status != -1 {
			t.Errorf("%s: a crash ended it with status %d, %v", p.program, status, err)
		}
	}
}
