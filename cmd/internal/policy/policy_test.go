package policy_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/policy"
)

var files = map[string]string{
	"/.manifest":     `{"revision": "7"}`,
	"/register.rego": "package sallyport.register\n\nallow := false\n",
	"/scrape.rego":   "package sallyport.scrape\n\nallow := false\n",
}

// writeBundle writes an unsigned one.
func writeBundle(t *testing.T, name string) {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for name, content := range files {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	write(t, name, out.Bytes())
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeKey(t *testing.T, name string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	write(t, name, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// TestFind: each kind of place is found by its name and described as what it is.
func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder, bundle := filepath.Join(dir, "folder"), filepath.Join(dir, "bundle.tar.gz")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if !strings.HasPrefix(name, "/.") {
			write(t, folder+name, []byte(content))
		}
	}
	writeBundle(t, bundle)
	for name, want := range map[string]string{
		"builtin:default": ", revision ",
		folder:            ", revision ",
		bundle:            ", bundle revision 7, signature not verified",
	} {
		place, err := policy.Find(name, "")
		if err != nil {
			t.Fatal(err)
		}
		keeper, err := authz.NewKeeper(t.Context(), place, authz.Options{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		if got := policy.Describe(keeper.Status()); !strings.HasPrefix(got, name+", revision ") || !strings.Contains(got, want) {
			t.Errorf("%s is described as %q", name, got)
		}
	}
}

// TestKeyIsNeverIgnored: whoever sets a key gets a signed bundle or nothing.
func TestKeyIsNeverIgnored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bundle, key := filepath.Join(dir, "bundle.tar.gz"), filepath.Join(dir, "key.pem")
	writeBundle(t, bundle)
	writeKey(t, key)
	for _, c := range []struct{ name, key string }{
		{"builtin:default", key}, {dir, key}, {bundle, filepath.Join(dir, "absent.pem")}, {bundle, bundle},
	} {
		place, err := policy.Find(c.name, c.key)
		var fault *policy.KeyError
		if !errors.As(err, &fault) {
			t.Errorf("%s with %s: %v, %v", c.name, c.key, place, err)
		}
	}
	place, err := policy.Find(bundle, key)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := authz.Load(t.Context(), place, authz.Options{}); err == nil || p != nil {
		t.Errorf("an unsigned bundle loads under a key: %v", err)
	}
}

func TestFindRefuses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "builtin:", "builtin:nonesuch", "absent", os.DevNull} {
		if place, err := policy.Find(name, ""); err == nil {
			t.Errorf("%q: found %v", name, place)
		}
		if files, err := policy.Files(name); err == nil {
			t.Errorf("%q: files %v", name, files)
		}
	}
}

// ending is a source whose material may end.
type ending struct{ material *authn.Material }

func (s *ending) Changed() <-chan struct{} { return nil }

func (s *ending) Material() (*authn.Material, error) {
	if s.material == nil {
		return nil, errors.New("expired")
	}
	return s.material, nil
}

// A proxy whose certificate has ended is told to the policy as the one that it was:
// otherwise "our own trust domain" would be nobody's, every scrape denied, and every list
// of targets empty, which Prometheus would believe.
func TestSelfOutlivesItsCertificate(t *testing.T) {
	t.Parallel()
	source := &ending{}
	self := policy.Self(source)
	if got := self(); got != (authz.ProxyInput{}) {
		t.Errorf("before any certificate: %+v", got)
	}
	id, err := authn.SPIFFEIdentity(spiffeid.RequireFromString("spiffe://example.org/proxy"))
	if err != nil {
		t.Fatal(err)
	}
	source.material = &authn.Material{Identity: id, TrustDomain: "example.org"}
	want := authz.ProxyInput{ID: "spiffe://example.org/proxy", TrustDomain: "example.org"}
	if got := self(); got != want {
		t.Errorf("with one: %+v", got)
	}
	source.material = nil
	if got := self(); got != want {
		t.Errorf("after its end: %+v", got)
	}
}
