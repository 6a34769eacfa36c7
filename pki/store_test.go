package pki_test

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/pki"
)

func initCA(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "certs")
	if _, err := pki.Init(dir, pki.InitOptions{TrustDomain: "example.org"}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func agentOptions() pki.IssueOptions {
	return pki.IssueOptions{Request: pki.Request{Role: pki.Agent, SPIFFEID: nodeID}}
}

func TestStoreModes(t *testing.T) {
	t.Parallel()
	dir := initCA(t)
	files, err := pki.Issue(dir, agentOptions())
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "team-a-node.pem"); files.Cert != want {
		t.Errorf("certificate in %s, want %s", files.Cert, want)
	}
	for name, want := range map[string]fs.FileMode{
		dir:                                0o700,
		filepath.Join(dir, pki.CACertFile): 0o644,
		filepath.Join(dir, pki.CAKeyFile):  0o600,
		files.Cert:                         0o644,
		files.Key:                          0o600,
	} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %04o, want %04o", name, got, want)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".new-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind %v, %v", left, err)
	}
	if _, err := tls.LoadX509KeyPair(files.Cert, files.Key); err != nil {
		t.Error(err)
	}
}

func TestStoreKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	dir := initCA(t)
	if _, err := pki.Issue(dir, agentOptions()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, pki.CAKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Init(dir, pki.InitOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second Init: %v", err)
	}
	if _, err := pki.Issue(dir, agentOptions()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second Issue: %v", err)
	}
	after, err := os.ReadFile(filepath.Join(dir, pki.CAKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("the CA's key changed without being asked")
	}
	again := agentOptions()
	again.Force = true
	if _, err := pki.Issue(dir, again); err != nil {
		t.Error(err)
	}
}

func TestStoreLifetime(t *testing.T) {
	t.Parallel()
	dir := initCA(t)
	opts := agentOptions()
	opts.Lifetime = time.Hour
	files, err := pki.Issue(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(files.NotAfter); left > time.Hour || left < 59*time.Minute {
		t.Errorf("expires in %v", left)
	}
	opts.Force = true
	for _, lifetime := range []time.Duration{-time.Second, 2 * pki.DefaultCALifetime} {
		opts.Lifetime = lifetime
		if _, err := pki.Issue(dir, opts); err == nil {
			t.Errorf("issued for %v", lifetime)
		}
	}
}

func TestStoreNames(t *testing.T) {
	t.Parallel()
	dir := initCA(t)
	for _, name := range []string{"ca", "ca-key", "x-key", "../x", "-x", ".x"} {
		opts := agentOptions()
		opts.Name, opts.Force = name, true
		if _, err := pki.Issue(dir, opts); err == nil {
			t.Errorf("issued %q", name)
		}
	}
	files, err := pki.Issue(dir, pki.IssueOptions{Request: pki.Request{Role: pki.Scraper, DNSNames: []string{"prometheus.example.org"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := filepath.Base(files.Key); got != "prometheus.example.org-key.pem" {
		t.Errorf("key in %s", got)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	if _, err := pki.Load(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty folder: %v", err)
	}
	open := initCA(t)
	if err := os.Chmod(filepath.Join(open, pki.CAKeyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Load(open); err == nil || !strings.Contains(err.Error(), "0644") {
		t.Errorf("open key: %v", err)
	}
	mixed, other := initCA(t), initCA(t)
	if err := os.Rename(filepath.Join(other, pki.CACertFile), filepath.Join(mixed, pki.CACertFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Load(mixed); err == nil || !strings.Contains(err.Error(), "match") {
		t.Errorf("another CA's certificate: %v", err)
	}
}
