package pki

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// The names of the authority's files in its folder.
const (
	CACertFile = "ca.pem"
	CAKeyFile  = "ca-key.pem"
)

// InitOptions says what authority Init makes.
type InitOptions struct {
	TrustDomain string        // as CAConfig
	Lifetime    time.Duration // zero: DefaultCALifetime
	Demo        bool          // as CAConfig
	Force       bool          // write over an authority that is there already
}

// IssueOptions says what leaf Issue makes.
type IssueOptions struct {
	Request
	// Lifetime counts from now, at most as long as the authority lives. Zero:
	// as Request.NotAfter says.
	Lifetime time.Duration
	// Name is what the files are called: NAME.pem, NAME-key.pem. Empty: after
	// the identity, "team-a-node" for spiffe://example.org/team-a/node.
	Name string
	// Out is the folder to write into, created where it is missing; empty: that of
	// the authority. The trust anchors go there too, so that it can be mounted or
	// copied to the peer as it is, and holds nobody else's key.
	Out string
	// Force writes over files that are there already; the anchors are written
	// anyway, for they are the authority's.
	Force bool
}

// Files says where Init or Issue put what it made.
type Files struct {
	Cert, Key string
	NotAfter  time.Time
}

// Init makes an authority in a folder, which it creates for its owner alone.
// It writes CACertFile, which every daemon wants as its trust anchors, and
// CAKeyFile, which no daemon must ever see.
func Init(dir string, opts InitOptions) (*Files, error) {
	if opts.Lifetime < 0 {
		return nil, fmt.Errorf("lifetime %v: want more than nothing", opts.Lifetime)
	}
	cfg := CAConfig{TrustDomain: opts.TrustDomain, Demo: opts.Demo}
	if opts.Lifetime > 0 {
		cfg.NotAfter = time.Now().Add(opts.Lifetime)
	}
	ca, err := NewCA(cfg)
	if err != nil {
		return nil, err
	}
	key, err := ca.KeyPEM()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating folder: %w", err)
	}
	files := &Files{
		Cert:     filepath.Join(dir, CACertFile),
		Key:      filepath.Join(dir, CAKeyFile),
		NotAfter: ca.cert.NotAfter,
	}
	return files, files.write(ca.CertPEM(), key, opts.Force)
}

// Issue makes a leaf from the authority in the folder and writes it there, or
// into Out.
func Issue(dir string, opts IssueOptions) (*Files, error) {
	ca, err := Load(dir)
	if err != nil {
		return nil, err
	}
	if opts.Lifetime < 0 {
		return nil, fmt.Errorf("lifetime %v: want more than nothing", opts.Lifetime)
	}
	if opts.Lifetime > 0 {
		opts.NotAfter = time.Now().Add(opts.Lifetime)
		if opts.NotAfter.After(ca.cert.NotAfter) {
			return nil, fmt.Errorf("lifetime %v: the CA expires at %s", opts.Lifetime, ca.cert.NotAfter.Format(time.RFC3339))
		}
	}
	if time.Now().After(ca.cert.NotAfter) {
		return nil, fmt.Errorf("the CA expired at %s", ca.cert.NotAfter.Format(time.RFC3339))
	}
	leaf, err := ca.Issue(opts.Request)
	if err != nil {
		return nil, err
	}
	name, err := fileName(opts)
	if err != nil {
		return nil, err
	}
	key, err := leaf.KeyPEM()
	if err != nil {
		return nil, err
	}
	out := cmp.Or(opts.Out, dir)
	if err := peerFolder(opts.Out); err != nil {
		return nil, err
	}
	files := &Files{
		Cert:     filepath.Join(out, name+".pem"),
		Key:      filepath.Join(out, name+"-key.pem"),
		NotAfter: leaf.chain[0].NotAfter,
	}
	if err := files.write(leaf.CertPEM(), key, opts.Force); err != nil || opts.Out == "" {
		return files, err
	}
	return files, writeFile(filepath.Join(out, CACertFile), ca.CertPEM(), 0o644)
}

// peerFolder makes the folder of a peer, if it is one: the anchors of an authority
// that is there must not be replaced by those of another.
func peerFolder(dir string) error {
	if dir == "" {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(dir, CAKeyFile)); err == nil {
		return fmt.Errorf("%s is the folder of an authority: want another for the peer", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("creating folder: %w", err)
	}
	return nil
}

// Load reads the authority that Init made in the folder. It refuses a key that
// everybody may read.
func Load(dir string) (*CA, error) {
	keyFile := filepath.Join(dir, CAKeyFile)
	info, err := os.Stat(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for a CA in %s: %w", dir, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("reading CA key: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: others may read it, so it is no secret", keyFile, info.Mode().Perm())
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("reading CA key: %w", err)
	}
	cert, err := os.ReadFile(filepath.Join(dir, CACertFile))
	if err != nil {
		return nil, fmt.Errorf("reading CA certificate: %w", err)
	}
	return parseCA(cert, key)
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

func fileName(opts IssueOptions) (string, error) {
	name := opts.Name
	if name == "" {
		if rest, ok := strings.CutPrefix(opts.SPIFFEID, "spiffe://"); ok {
			_, path, _ := strings.Cut(rest, "/")
			name = strings.ReplaceAll(path, "/", "-")
		} else {
			name = opts.DNSNames[0]
		}
	}
	if !plainName.MatchString(name) {
		return "", fmt.Errorf("file name %q: want letters, digits, dots, dashes, underscores", name)
	}
	if name == "ca" || strings.HasSuffix(name, "-key") {
		return "", fmt.Errorf("file name %q: it would clash with the authority's files or with a key", name)
	}
	return name, nil
}

func (f *Files) write(cert, key []byte, force bool) error {
	if !force {
		for _, name := range []string{f.Key, f.Cert} {
			if _, err := os.Lstat(name); err == nil {
				return fmt.Errorf("%s: %w", name, fs.ErrExist)
			}
		}
	}
	// The key first: a daemon that watches the certificate then finds its key.
	if err := writeFile(f.Key, key, 0o600); err != nil {
		return err
	}
	return writeFile(f.Cert, cert, 0o644)
}

// writeFile puts a whole file in place at once, so that no reader sees half of
// one, and with its mode from the start, so that a key is at no time open.
func writeFile(name string, data []byte, mode os.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(name), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("creating file: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Chmod(mode)
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
