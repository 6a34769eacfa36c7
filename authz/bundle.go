package authz

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// The names that OPA gives to what a bundle says about itself.
const (
	manifestFile   = ".manifest"
	signaturesFile = ".signatures.json"
)

// BundlePlace is an OPA bundle in a file: a tar archive, compressed with gzip. What
// is in it counts as in a folder. With a key the bundle must be signed with it, and
// its manifest needs a revision that can be compared: an unsigned integer or a time
// as in RFC 3339.
func BundlePlace(path string, key *Key) Place { return bundlePlace{path: path, key: key} }

type bundlePlace struct {
	path string
	key  *Key
}

func (p bundlePlace) Name() string { return p.path }
func (p bundlePlace) Kind() string { return kindBundle }

func (p bundlePlace) look() (content, error) {
	f, err := os.Open(p.path)
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return content{}, err
	}
	if !info.Mode().IsRegular() {
		return content{}, fmt.Errorf("%s: not a regular file", p.path)
	}
	archive, err := io.ReadAll(io.LimitReader(f, maxFolderBytes+1))
	if err != nil {
		return content{}, err
	}
	if len(archive) > maxFolderBytes {
		return content{}, fmt.Errorf("%s: larger than %d MiB", p.path, maxFolderBytes>>20)
	}
	return content{sum: sha256.Sum256(archive), archive: archive}, nil
}

func (p bundlePlace) unpack(c content) (got parcel, err error) {
	defer func() {
		// OPA hashes with what a signature names, and under fips140=only some
		// hashes panic.
		if r := recover(); r != nil {
			got, err = parcel{}, fmt.Errorf("%s: panic: %v", p.path, r)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", p.path, err)
		}
	}()
	entries, err := unpackArchive(bytes.NewReader(c.archive))
	if err != nil {
		return parcel{}, err
	}
	verification, err := p.verification(entries)
	if err != nil {
		return parcel{}, err
	}
	manifest, err := readBundle(entries, verification)
	if err != nil {
		return parcel{}, err
	}
	if p.key != nil {
		if _, err := parseRevision(manifest.Revision); err != nil {
			return parcel{}, err
		}
	}
	files := policyFiles(entries)
	_, hasSignature := contentOf(entries, signaturesFile)
	return parcel{
		files:      files,
		sum:        sumOf(files),
		revision:   manifest.Revision,
		signed:     p.key != nil,
		unverified: p.key == nil && hasSignature,
	}, nil
}

// readBundle has OPA verify the signature of every file and check what the manifest
// says. What it would then run in another way than a folder is refused.
func readBundle(entries []file, verification *bundle.VerificationConfig) (bundle.Manifest, error) {
	if err := checkManifest(entries); err != nil {
		return bundle.Manifest{}, fmt.Errorf("%s: %w", manifestFile, err)
	}
	b, err := bundle.NewCustomReader(&entryLoader{entries: entries}).
		WithBundleVerificationConfig(verification).
		WithSkipBundleVerification(verification == nil).
		WithLazyLoadingMode(false).
		WithProcessAnnotations(true).
		WithRegoVersion(ast.RegoV1).
		WithCapabilities(capabilities()).
		WithSizeLimitBytes(maxFileBytes).
		Read()
	if err != nil {
		return bundle.Manifest{}, err
	}
	switch {
	case b.Type() != bundle.SnapshotBundleType:
		return bundle.Manifest{}, errors.New("a delta bundle: only whole ones are loaded")
	case len(b.WasmModules) > 0 || len(b.Manifest.WasmResolvers) > 0:
		return bundle.Manifest{}, errors.New("the bundle holds WebAssembly: only Rego is loaded")
	case len(b.PlanModules) > 0:
		return bundle.Manifest{}, errors.New("the bundle holds a plan: only Rego is loaded")
	}
	return b.Manifest, nil
}

// checkManifest looks for what OPA would pass over. A key that stands twice would also
// be passed over by the signature, which is over the manifest's values.
func checkManifest(entries []file) error {
	content, ok := contentOf(entries, manifestFile)
	if !ok {
		return nil
	}
	if err := checkJSONKeys(content); err != nil {
		return err
	}
	var manifest bundle.Manifest
	if err := json.Unmarshal(content, &manifest); err != nil {
		return err
	}
	if v := manifest.RegoVersion; v != nil && *v != ast.RegoV1.Int() || len(manifest.FileRegoVersions) > 0 {
		return errors.New("asks for another Rego than v1")
	}
	return nil
}

// verification is what a signature has to fulfil, nil without a key.
func (p bundlePlace) verification(entries []file) (*bundle.VerificationConfig, error) {
	if p.key == nil {
		return nil, nil
	}
	content, ok := contentOf(entries, signaturesFile)
	if !ok {
		return nil, errors.New("the bundle is not signed, and there is a key with which it must be")
	}
	algorithm, err := p.key.algorithm(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", signaturesFile, err)
	}
	// The one key is asked for by our own name for it, whatever the signature calls it.
	const id = "key"
	keys := map[string]*bundle.KeyConfig{id: {Key: p.key.pem, Algorithm: algorithm}}
	return bundle.NewVerificationConfig(keys, id, "", nil), nil
}

// policyFiles are those that a folder would be read for.
func policyFiles(entries []file) []file {
	var files []file
	for _, f := range entries {
		if readable(f.name) && !hidden(f.name) {
			files = append(files, f)
		}
	}
	return files
}

func contentOf(entries []file, name string) ([]byte, bool) {
	for _, f := range entries {
		if f.name == name {
			return f.content, true
		}
	}
	return nil, false
}

func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}

// entryLoader hands to OPA what was unpacked within our bounds.
type entryLoader struct {
	bundle.DirectoryLoader // what else it has is not called by a Reader
	entries                []file
}

func (l *entryLoader) NextFile() (*bundle.Descriptor, error) {
	if len(l.entries) == 0 {
		return nil, io.EOF
	}
	f := l.entries[0]
	l.entries = l.entries[1:]
	name := path.Join("/", f.name)
	// OPA keeps, and may change, the buffer.
	return bundle.NewDescriptor(name, name, bytes.NewBuffer(slices.Clone(f.content))), nil
}
