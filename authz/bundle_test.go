package authz_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/seed-951114d4/sallyport/authz"
)

// signer is a key pair and the algorithm that it signs with.
type signer struct {
	algorithm string
	private   crypto.Signer
}

func newSigner(t *testing.T, algorithm string) signer {
	t.Helper()
	var private crypto.Signer
	var err error
	switch algorithm {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signer{algorithm, private}
}

func (s signer) public(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (s signer) key(t *testing.T) *authz.Key {
	t.Helper()
	key, err := authz.ParseKey(s.public(t))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign adds the signature over files, made as OPA makes it.
func (s signer) sign(t *testing.T, files map[string]string) map[string]string {
	t.Helper()
	return s.signHashed(t, files, bundle.SHA256)
}

func (s signer) signHashed(t *testing.T, files map[string]string, algorithm bundle.HashingAlgorithm) map[string]string {
	t.Helper()
	hasher, err := bundle.NewSignatureHasher(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	var infos []bundle.FileInfo
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var value any = []byte(files[name])
		if bundle.IsStructuredDoc(name) {
			if err := json.Unmarshal([]byte(files[name]), &value); err != nil {
				t.Fatal(err)
			}
		}
		sum, err := hasher.HashFile(value)
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, bundle.NewFile(name, hex.EncodeToString(sum), string(algorithm)))
	}
	der, err := x509.MarshalPKCS8PrivateKey(s.private)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	token, err := bundle.GenerateSignedToken(infos, bundle.NewSigningConfig(string(private), s.algorithm, ""), "team-a")
	if err != nil {
		t.Fatal(err)
	}
	return with(files, ".signatures.json", `{"signatures": ["`+token+`"]}`)
}

func with(files map[string]string, name, content string) map[string]string {
	files = maps.Clone(files)
	files[name] = content
	return files
}

func without(files map[string]string, name string) map[string]string {
	files = maps.Clone(files)
	delete(files, name)
	return files
}

// bundled is the policy that gives its name as the reason, with a manifest.
func bundled(name, revision string) map[string]string {
	files := with(saying(name), "scrape.rego", denyScrape)
	if revision == "" {
		return files
	}
	return with(files, ".manifest", fmt.Sprintf(`{"revision": %q}`, revision))
}

// archive is what tar and gzip make of files.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var headers []tar.Header
	for _, name := range slices.Sorted(maps.Keys(files)) {
		headers = append(headers, tar.Header{Name: name})
	}
	return archiveOf(t, files, headers...)
}

func archiveOf(t *testing.T, files map[string]string, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	for _, header := range headers {
		header.Mode, header.Size = 0o644, int64(len(files[header.Name]))
		if err := tw.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(files[header.Name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return zipped(t, out.Bytes())
}

// put writes the file in one step, as a careful copy does.
func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func loadBundle(t *testing.T, content []byte, key *authz.Key) (*authz.Policy, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle.tar.gz")
	put(t, path, content)
	return authz.Load(t.Context(), authz.BundlePlace(path, key), authz.Options{Timeout: 5 * time.Second})
}

func mustNotLoad(t *testing.T, content []byte, key *authz.Key, words ...string) {
	t.Helper()
	p, err := loadBundle(t, content, key)
	if err == nil || p != nil {
		t.Fatal("the bundle loads")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("no %q in: %v", word, err)
		}
	}
}

func TestBundleDecidesAsItsFolder(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"register.rego": `package sallyport.register
allow if { data.a == 1; data.sub.b == 2; data.sub.c == 3 }`,
		"scrape.rego":           denyScrape,
		"deny/x_test.rego":      "package x_test\ntest_a if data.a == 1",
		"data.json":             `{"a": 1}`,
		"sub/data.yaml":         "b: 2",
		"sub/extra.json":        `{"c": 3}`,
		"README.md":             "what it is",
		"sub/notes.json.backup": "{",
	}
	p, err := loadBundle(t, archive(t, files), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := p.Register(t.Context(), node()); !d.Allow {
		t.Errorf("%+v", d)
	}
	if same := mustCompile(t, folder(files), authz.Options{}); same.Revision() != p.Revision() {
		t.Errorf("revision %s as a bundle, %s as a folder", p.Revision(), same.Revision())
	}
	// Names as tar and OPA write them.
	for _, prefix := range []string{"/", "./"} {
		renamed := make(map[string]string)
		for name, content := range files {
			renamed[prefix+name] = content
		}
		if same, err := loadBundle(t, archive(t, renamed), nil); err != nil || same.Revision() != p.Revision() {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}

// What OPA itself builds and signs is what we load.
func TestBundleMadeByOPA(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "ES256")
	files := bundled("one", "7")
	made, err := bundle.NewReader(bytes.NewReader(archive(t, files))).Read()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(s.private)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err := made.GenerateSignature(bundle.NewSigningConfig(private, "ES256", ""), "default", false); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := bundle.NewWriter(&out).DisableFormat(true).Write(made); err != nil {
		t.Fatal(err)
	}
	p, err := loadBundle(t, out.Bytes(), s.key(t))
	if err != nil {
		t.Fatal(err)
	}
	if d := p.Register(t.Context(), node()); !d.Allow || !slices.Equal(d.Reasons, []string{"one"}) {
		t.Errorf("%+v", d)
	}
}

func TestSignedBundles(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			s := newSigner(t, algorithm)
			signed := s.sign(t, bundled("one", "1"))
			if _, err := loadBundle(t, archive(t, signed), s.key(t)); err != nil {
				t.Error(err)
			}
			mustNotLoad(t, archive(t, signed), newSigner(t, algorithm).key(t), "verify JWT signature")
		})
	}
}

func TestBundlesThatAKeyRefuses(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "ES256")
	files := bundled("one", "1")
	signed := s.sign(t, files)
	tests := []struct {
		name  string
		files map[string]string
		words []string
	}{
		{"unsigned", files, []string{"not signed"}},
		{"no signature in the file", with(files, ".signatures.json", `{"signatures": []}`), []string{"exactly one signature"}},
		{"two signatures", with(files, ".signatures.json", `{"signatures": ["a.b.c", "a.b.c"]}`), []string{"exactly one signature"}},
		{"plugin", with(signed, ".signatures.json", strings.Replace(signed[".signatures.json"], "{", `{"plugin": "x", `, 1)), []string{"no plugin"}},
		{"signature no token", with(files, ".signatures.json", `{"signatures": ["x"]}`), []string{".signatures.json"}},
		{"algorithm none", with(files, ".signatures.json", `{"signatures": ["eyJhbGciOiJub25lIn0.e30."]}`), []string{`"none"`, "ES256"}},
		{"algorithm with a shared secret", with(files, ".signatures.json", `{"signatures": ["eyJhbGciOiJIUzI1NiJ9.e30.AA"]}`), []string{`"HS256"`, "ES256"}},
		{"other key", newSigner(t, "ES256").sign(t, files), []string{"verify JWT signature"}},
		{"rule changed", with(signed, "scrape.rego", "package sallyport.scrape\n\nallow := true\n"), []string{"scrape.rego", "digest mismatch"}},
		{"data changed", with(signed, "data.json", `{"name": "two"}`), []string{"data.json", "digest mismatch"}},
		{"data said twice", with(signed, "data.json", `{"name": "two", "name": "one"}`), []string{"data.json", `"name" stands twice`}},
		{"revision changed", with(signed, ".manifest", `{"revision": "9"}`), []string{".manifest", "digest mismatch"}},
		{"revision said twice", with(signed, ".manifest", `{"revision": "9", "revision": "1"}`), []string{".manifest", "stands twice"}},
		{"rule added", with(signed, "more.rego", "package more\nx := 1"), []string{"more.rego", "not included in bundle signature"}},
		{"data added", with(signed, "more.json", `{"x": 1}`), []string{"more.json", "not included in bundle signature"}},
		{"schema added", with(signed, "data.schema.json", `{}`), []string{"data.schema.json", "not included in bundle signature"}},
		{"rule taken away", without(signed, "scrape.rego"), []string{"scrape.rego", "not found in the target bundle"}},
		{"manifest taken away", without(signed, ".manifest"), []string{".manifest", "not found in the target bundle"}},
		{"no manifest", s.sign(t, without(files, ".manifest")), []string{"no revision"}},
		{"empty revision", s.sign(t, with(files, ".manifest", `{"revision": ""}`)), []string{"no revision"}},
		{"revision that is a name", s.sign(t, with(files, ".manifest", `{"revision": "a1b2c3"}`)), []string{`"a1b2c3"`, "RFC 3339"}},
		{"revision below zero", s.sign(t, with(files, ".manifest", `{"revision": "-1"}`)), []string{`"-1"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mustNotLoad(t, archive(t, tt.files), s.key(t), tt.words...)
		})
	}
	t.Run("weak hash", func(t *testing.T) {
		var weak map[string]string
		fips140.WithoutEnforcement(func() { weak = s.signHashed(t, files, bundle.SHA1) })
		mustNotLoad(t, archive(t, weak), s.key(t), "SHA-1")
	})
}

func TestBundlesThatDoNotLoad(t *testing.T) {
	t.Parallel()
	files := bundled("one", "1")
	tests := []struct {
		name  string
		files map[string]string
		words []string
	}{
		{"empty", nil, []string{"data.sallyport.register.allow"}},
		{"rule broken", with(files, "register.rego", "package sallyport.register\n\nallow if {"), []string{"register.rego:3"}},
		{"type error", with(files, "register.rego", "package sallyport.register\n\nallow if input.agnet"), []string{"register.rego:3"}},
		{"test fails", with(files, "x_test.rego", "package x_test\n\ntest_x if false"), []string{"x_test.rego:3", "test_x"}},
		{"data broken", with(files, "data.json", "{\n,"), []string{"data.json"}},
		{"manifest broken", with(files, ".manifest", "{"), []string{".manifest"}},
		{"wasm", with(files, "policy.wasm", "x"), []string{"WebAssembly"}},
		{"plan", with(files, "plan.json", "{}"), []string{"plan"}},
		{"delta", with(map[string]string{}, "patch.json", `{"data": [{"op": "upsert", "path": "/x", "value": 1}]}`), []string{"delta"}},
		{"Rego v0", with(files, ".manifest", `{"revision": "1", "rego_version": 0}`), []string{"v1"}},
		{"outside of the roots", with(files, ".manifest", `{"revision": "1", "roots": ["other"]}`), []string{"roots"}},
		{"manifest below", with(files, "sub/.manifest", "{}"), []string{"sub/.manifest", "hidden"}},
		{"manifest in another form", with(files, ".manifest.pb", ""), []string{".manifest.pb", "JSON"}},
		{"hidden rule", with(files, "._register.rego", "x"), []string{"._register.rego", "hidden"}},
		{"hidden folder", with(files, ".git/x.json", "{}"), []string{".git/x.json", "hidden"}},
		{"same place twice", with(files, "./data.json", "{}"), []string{"data.json", "twice"}},
		{"outside", with(files, "../data.json", "{}"), []string{"../data.json"}},
		{"outside, inwards", with(files, "a/../../data.json", "{}"), []string{"a/../../data.json"}},
		{"backslash", with(files, `a\b.json`, "{}"), []string{"not the name of a file"}},
		{"too deep", with(files, strings.Repeat("d/", 17)+"x.json", "{}"), []string{"folders deep"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mustNotLoad(t, archive(t, tt.files), nil, tt.words...)
		})
	}
}

func TestArchivesThatDoNotUnpack(t *testing.T) {
	t.Parallel()
	files := bundled("one", "1")
	whole := archive(t, files)
	t.Run("no gzip", func(t *testing.T) { mustNotLoad(t, []byte("PK\x03\x04"), nil, "gzip") })
	t.Run("nothing", func(t *testing.T) { mustNotLoad(t, nil, nil, "gzip") })
	t.Run("half written", func(t *testing.T) {
		t.Parallel()
		for n := 1; n < len(whole); n += 50 {
			mustNotLoad(t, whole[:n], nil)
		}
		mustNotLoad(t, whole[:len(whole)-1], nil, "unexpected EOF")
	})
	t.Run("checksum", func(t *testing.T) {
		broken := slices.Clone(whole)
		broken[len(broken)-8] ^= 1
		mustNotLoad(t, broken, nil, "checksum")
	})
	for name, header := range map[string]tar.Header{
		"link":      {Name: "deny.rego", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		"hard link": {Name: "deny.rego", Typeflag: tar.TypeLink, Linkname: "data.json"},
		"pipe":      {Name: "deny.rego", Typeflag: tar.TypeFifo},
	} {
		t.Run(name, func(t *testing.T) {
			mustNotLoad(t, archiveOf(t, files, tar.Header{Name: "data.json"}, header), nil, "deny.rego", "not a regular file")
		})
	}
	t.Run("the same name twice", func(t *testing.T) {
		mustNotLoad(t, archiveOf(t, files, tar.Header{Name: "data.json"}, tar.Header{Name: "data.json"}), nil, "twice")
	})
	t.Run("large file", func(t *testing.T) {
		t.Parallel()
		mustNotLoad(t, archive(t, with(files, "x.json", strings.Repeat(" ", 16<<20+1))), nil, "x.json", "larger than 16 MiB")
	})
	// gzip may be a chain of parts: what is large is compressed once.
	t.Run("large in all", func(t *testing.T) {
		t.Parallel()
		part := zipped(t, make([]byte, 15<<20))
		var out []byte
		for i := range 5 {
			var header bytes.Buffer
			name := fmt.Sprintf("x%d.json", i)
			if err := tar.NewWriter(&header).WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: 15 << 20}); err != nil {
				t.Fatal(err)
			}
			out = slices.Concat(out, zipped(t, header.Bytes()), part)
		}
		mustNotLoad(t, out, nil, "x4.json", "more than 64 MiB")
	})
	t.Run("many entries", func(t *testing.T) {
		t.Parallel()
		many := make(map[string]string)
		for i := range 10_001 {
			many[fmt.Sprintf("x%d", i)] = ""
		}
		mustNotLoad(t, archive(t, many), nil, "more than 10000 entries")
	})
	// A megabyte that is a gigabyte of nothing behind the archive's end.
	t.Run("bomb", func(t *testing.T) {
		t.Parallel()
		mustNotLoad(t, bytes.Repeat(zipped(t, make([]byte, 1<<20)), 1000), nil, "when decompressed")
	})
}

func zipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestKeysThatDoNotLoad(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "ES256")
	block := func(kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	private, err := x509.MarshalPKCS8PrivateKey(s.private)
	privatePEM := block("PRIVATE KEY", private, err)
	var small *rsa.PrivateKey
	fips140.WithoutEnforcement(func() { small, err = rsa.GenerateKey(rand.Reader, 1024) })
	if err != nil {
		t.Fatal(err)
	}
	smallDER, err := x509.MarshalPKIXPublicKey(small.Public())
	smallPEM := block("PUBLIC KEY", smallDER, err)
	curve, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curveDER, err := x509.MarshalPKIXPublicKey(curve.Public())
	curvePEM := block("PUBLIC KEY", curveDER, err)
	tests := []struct{ name, text, word string }{
		{"empty", "", "no public key"},
		{"a secret", "c2VjcmV0", "no public key"},
		{"private", privatePEM, "private key"},
		{"two", string(s.public(t)) + string(s.public(t)), "more than one"},
		{"certificate", strings.ReplaceAll(string(s.public(t)), "PUBLIC KEY", "CERTIFICATE"), "CERTIFICATE"},
		{"garbage", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "asn1"},
		{"small", smallPEM, "1024 bits"},
		{"curve", curvePEM, "P-224"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.pem")
			put(t, path, []byte(tt.text))
			key, err := authz.LoadKey(path)
			if err == nil || key != nil || !strings.Contains(err.Error(), tt.word) || !strings.Contains(err.Error(), "key.pem") {
				t.Errorf("%v, want %q", err, tt.word)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	put(t, path, s.public(t))
	if _, err := authz.LoadKey(path); err != nil {
		t.Error(err)
	}
	if _, err := authz.LoadKey(path + ".none"); err == nil {
		t.Error("a key that is not there")
	}
}

// step is a bundle that is put in the place of the one before.
type step struct {
	revision, name string
	refused        string // a word of the reason, empty where it comes in force
}

func TestSuccessionOfBundles(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		signed bool
		first  string
		steps  []step
	}{
		{"signed numbers", true, "7", []step{
			{"8", "two", ""}, {"7", "one", `"7" is older than "8"`}, {"6", "x", "older"},
			{"8", "x", "other content"}, {"9", "two", ""}, {"8", "two", "older"},
			{"2026-01-01T00:00:00Z", "x", "cannot be compared"}, {"9", "two", ""}, {"10", "three", ""},
		}},
		{"signed times", true, "2026-01-01T00:00:00Z", []step{
			{"2026-01-01T00:00:01Z", "two", ""}, {"2026-01-01T02:00:00+02:00", "one", "older"},
			{"3000", "x", "cannot be compared"}, {"2026-01-01T00:00:01.5Z", "three", ""},
		}},
		{"unsigned", false, "7", []step{
			{"8", "two", ""}, {"7", "one", "older"}, {"8", "three", ""}, {"", "four", ""},
			{"1", "five", ""}, {"abc", "six", ""}, {"abd", "seven", ""},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSigner(t, "EdDSA")
				path, key := filepath.Join(t.TempDir(), "bundle.tar.gz"), (*authz.Key)(nil)
				publish := func(revision, name string) {
					files := bundled(name, revision)
					if tt.signed {
						files = s.sign(t, files)
					}
					put(t, path, archive(t, files))
				}
				if tt.signed {
					key = s.key(t)
				}
				publish(tt.first, "one")
				k := keep(t, authz.BundlePlace(path, key))
				defer k.run()()
				if status := k.Status(); status.BundleRevision != tt.first || status.Kind != "bundle" || status.Signed != tt.signed {
					t.Fatalf("%+v", status)
				}
				want := step{revision: tt.first, name: "one"}
				for _, next := range tt.steps {
					publish(next.revision, next.name)
					time.Sleep(inForceWithin)
					if next.refused == "" {
						want = next
					}
					status := k.Status()
					if k.says() != want.name || status.BundleRevision != want.revision {
						t.Errorf("after %+v: in force is %s, %+v", next, k.says(), status)
					}
					switch {
					case next.refused == "" && status.Failure != nil:
						t.Errorf("after %+v: %+v", next, status.Failure)
					case next.refused != "" && (status.Failure == nil || !strings.Contains(status.Failure.Error, next.refused)):
						t.Errorf("after %+v: %+v", next, status.Failure)
					}
				}
			})
		})
	}
}

// The same files under a later revision are no other policy: nobody is judged again.
func TestBundleWithTheSameFiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "bundle.tar.gz")
		put(t, path, archive(t, bundled("one", "1")))
		k := keep(t, authz.BundlePlace(path, nil))
		defer k.run()()
		signal := k.Engine().Changed()
		put(t, path, archive(t, bundled("one", "2")))
		time.Sleep(inForceWithin)
		if k.Status().BundleRevision != "2" {
			t.Errorf("%+v", k.Status())
		}
		select {
		case <-signal:
			t.Error("the engine says that the policy changed")
		default:
		}
	})
}

func TestBundleWithASignatureButNoKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bundle.tar.gz")
	put(t, path, archive(t, newSigner(t, "ES256").sign(t, bundled("one", ""))))
	k := keep(t, authz.BundlePlace(path, nil))
	if k.Status().Signed || !strings.Contains(k.log.String(), "not verified") {
		t.Errorf("%+v\n%s", k.Status(), k.log)
	}
}

func TestBundlePlaceIsAFile(t *testing.T) {
	t.Parallel()
	_, err := authz.Load(t.Context(), authz.BundlePlace(t.TempDir(), nil), authz.Options{})
	if err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
}
