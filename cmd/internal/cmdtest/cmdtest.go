// Package cmdtest runs the scripts that test the programs. Tests alone import it.
package cmdtest

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-951114d4/sallyport/pki"
)

// Run runs the scripts of the package's testdata. Each finds certificates of the
// trust domain example.org in the folder certs: ca, proxy (spiffe://example.org/proxy
// and localhost), agent (/team-a), dns (prometheus.example.org, a server), and bare
// (spiffe://example.org/proxy and nothing else); in the folder demo the same of a CA that bears the demo's mark.
//
// Besides the usual commands there are
//
//	exits STATUS PROGRAM [ARG...]   runs a program, which must exit with the status
//	mode PERMISSIONS FILE...        compares the files' permissions, in octal
func Run(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			if err := mint(filepath.Join(env.WorkDir, "demo"), true); err != nil {
				return err
			}
			return mint(filepath.Join(env.WorkDir, "certs"), false)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
			"mode":  mode,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

func mint(dir string, demo bool) error {
	if _, err := pki.Init(dir, pki.InitOptions{TrustDomain: "example.org", Demo: demo}); err != nil {
		return err
	}
	for name, request := range map[string]pki.Request{
		"proxy": {Role: pki.Proxy, SPIFFEID: "spiffe://example.org/proxy", DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}},
		"agent": {Role: pki.Agent, SPIFFEID: "spiffe://example.org/team-a"},
		"bare":  {Role: pki.Proxy, SPIFFEID: "spiffe://example.org/proxy"},
		"dns":   {Role: pki.Proxy, DNSNames: []string{"prometheus.example.org"}},
	} {
		if _, err := pki.Issue(dir, pki.IssueOptions{Request: request, Name: name}); err != nil {
			return err
		}
	}
	return nil
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	status := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("running %s: %v", args[1], err)
		}
		status = exit.ExitCode()
	}
	if status != want {
		ts.Fatalf("%s exited with %d, want %d", args[1], status, want)
	}
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode PERMISSIONS FILE...")
	}
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, name := range args[1:] {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if got := info.Mode().Perm(); got != fs.FileMode(want) {
			ts.Fatalf("%s has mode %04o, want %04o", name, got, want)
		}
	}
}
