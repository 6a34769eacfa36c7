package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Process is a program that runs for as long as a test does.
type Process struct {
	tb   testing.TB
	cmd  *exec.Cmd
	name string

	mu     sync.Mutex
	output bytes.Buffer
	grown  chan struct{} // closed when output has grown or the process has ended
	ended  bool
	err    error
}

// Program finds an outside program by its names. Where there is none the test is
// skipped, but fails on CI, which installs them.
func Program(tb testing.TB, names ...string) string {
	tb.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		tb.Fatalf("%s is not installed", names[0])
	}
	tb.Skipf("%s is not installed: apt-get install it to run this test", names[0])
	return ""
}

// programs are those of the module that have been built, once for all tests of a
// package.
var programs struct {
	mu    sync.Mutex
	dir   string
	built map[string]string
}

// BuildTags are those that make build builds with.
const BuildTags = "grpcnotrace"

// Build builds one of the module's programs, such as "sallyport-proxy", unless a
// test of the package has done so. Main removes them.
func Build(tb testing.TB, name string) string {
	tb.Helper()
	programs.mu.Lock()
	defer programs.mu.Unlock()
	if path, ok := programs.built[name]; ok {
		return path
	}
	if programs.dir == "" {
		dir, err := os.MkdirTemp("", "sallyport-testenv-")
		if err != nil {
			tb.Fatal(err)
		}
		programs.dir, programs.built = dir, make(map[string]string)
	}
	path := filepath.Join(programs.dir, name)
	build := exec.Command("go", "build", "-tags", BuildTags, "-o", path, "github.com/seed-951114d4/sallyport/cmd/"+name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("building %s: %v\n%s", name, err, out)
	}
	programs.built[name] = path
	return path
}

// Main runs a package's tests, fails them if they leave a goroutine behind, and
// removes what Build built. It does not return.
func Main(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		programs.mu.Lock()
		defer programs.mu.Unlock()
		if programs.dir != "" {
			_ = os.RemoveAll(programs.dir)
		}
		os.Exit(status)
	}))
}

// Execute starts a program with these variables and no others but PATH and HOME.
func Execute(tb testing.TB, env []string, program string, args ...string) *Process {
	tb.Helper()
	p := &Process{tb: tb, name: filepath.Base(program), grown: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + tb.TempDir()}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		err := p.cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended, p.err = true, err
		close(p.grown)
		p.grown = make(chan struct{})
	}()
	tb.Cleanup(func() {
		p.Signal(syscall.SIGTERM)
		if _, err := p.Exit(); err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Logf("output of %s:\n%s", p.name, p.Output())
		}
	})
	return p
}

// Write collects the process's output.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.grown)
	p.grown = make(chan struct{})
	return p.output.Write(b)
}

// Output is everything that the process has written.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal; to a process that has ended it does nothing.
func (p *Process) Signal(signal os.Signal) { _ = p.cmd.Process.Signal(signal) }

// Await waits for output that matches and returns its first group.
func (p *Process) Await(pattern string) string {
	p.tb.Helper()
	compiled := regexp.MustCompile(pattern)
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	for {
		p.mu.Lock()
		found, grown, ended := compiled.FindSubmatch(p.output.Bytes()), p.grown, p.ended
		p.mu.Unlock()
		switch {
		case len(found) > 1:
			return string(found[1])
		case found != nil:
			return string(found[0])
		case ended:
			p.tb.Fatalf("%s ended without %q:\n%s", p.name, pattern, p.Output())
		}
		select {
		case <-grown:
		case <-timeout.C:
			p.tb.Fatalf("%s did not write %q:\n%s", p.name, pattern, p.Output())
		}
	}
}

// Exit waits until the process has ended and returns its status.
func (p *Process) Exit() (int, error) {
	timeout := time.NewTimer(45 * time.Second)
	defer timeout.Stop()
	for {
		p.mu.Lock()
		grown, ended, err := p.grown, p.ended, p.err
		p.mu.Unlock()
		if ended {
			var exit *exec.ExitError
			if err == nil || errors.As(err, &exit) {
				return p.cmd.ProcessState.ExitCode(), nil
			}
			return -1, err
		}
		select {
		case <-grown:
		case <-timeout.C:
			_ = p.cmd.Process.Kill()
			return -1, fmt.Errorf("%s did not end", p.name)
		}
	}
}
