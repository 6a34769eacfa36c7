package authz

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
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
	return parcel{
		files:      files,
		sum:        sumOf(files),
		revision:   manifest.Revision,
		signed:     p.key != nil,
		unverified: p.key == nil && has(entries, signaturesFile),
	}, nil
}

// readBundle has OPA verify the signature of every file and check what the manifest
// says. What it would then run in another way than a folder is refused.
func readBundle(entries []file, verification *bundle.VerificationConfig) (bundle.Manifest, error) {
	for _, f := range entries {
		if f.name == manifestFile || f.name == signaturesFile {
			if err := checkJSONKeys(f.content); err != nil {
				return bundle.Manifest{}, fmt.Errorf("%s: %w", f.name, err)
			}
		}
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
	case b.RegoVersion(ast.RegoV1) != ast.RegoV1 || len(b.Manifest.FileRegoVersions) > 0:
		return bundle.Manifest{}, errors.New("the manifest asks for another Rego than v1")
	}
	return b.Manifest, nil
}

// verification is what a signature has to fulfil, nil without a key.
func (p bundlePlace) verification(entries []file) (*bundle.VerificationConfig, error) {
	if p.key == nil {
		return nil, nil
	}
	algorithm, err := p.key.algorithm(entries)
	if err != nil {
		return nil, err
	}
	// The one key is asked for by our own name for it, whatever the signature calls it.
	const id = "key"
	keys := map[string]*bundle.KeyConfig{id: {Key: p.key.pem, Algorithm: algorithm}}
	return bundle.NewVerificationConfig(keys, id, "", nil), nil
}

// algorithm is the one that the signature says it is made with, if it fits the key.
func (k *Key) algorithm(entries []file) (string, error) {
	i := slices.IndexFunc(entries, func(f file) bool { return f.name == signaturesFile })
	if i < 0 {
		return "", errors.New("the bundle is not signed, and there is a key with which it must be")
	}
	var signatures bundle.SignaturesConfig
	if err := json.Unmarshal(entries[i].content, &signatures); err != nil {
		return "", fmt.Errorf("%s: %w", signaturesFile, err)
	}
	if len(signatures.Signatures) != 1 || signatures.Plugin != "" {
		return "", fmt.Errorf("%s: exactly one signature, and no plugin, is wanted", signaturesFile)
	}
	encoded, _, _ := strings.Cut(signatures.Signatures[0], ".")
	decoded, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return "", fmt.Errorf("%s: decoding header: %w", signaturesFile, err)
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	if err := json.Unmarshal(decoded, &header); err != nil {
		return "", fmt.Errorf("%s: decoding header: %w", signaturesFile, err)
	}
	if !slices.Contains(k.algorithms, header.Algorithm) {
		return "", fmt.Errorf("%s: signed with %q, and the key is for %s", signaturesFile, header.Algorithm, strings.Join(k.algorithms, ", "))
	}
	return header.Algorithm, nil
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

func has(entries []file, name string) bool {
	return slices.ContainsFunc(entries, func(f file) bool { return f.name == name })
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
