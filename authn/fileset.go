package authn

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"os"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// filePaths are the files of a source, each with the variable that names it. An
// empty path is none.
type filePaths struct {
	chain, key, ca filePath
	federated      []federatedPath
}

type filePath struct{ variable, path string }

type federatedPath struct {
	filePath
	domain spiffeid.TrustDomain
}

// fileSet is what the files held at one moment. They are read one after the
// other, so they need not belong together.
type fileSet struct {
	paths          filePaths
	chain, key, ca []byte
	federated      map[spiffeid.TrustDomain][]byte
	groupReadable  bool
	// err joins all that kept files from being read.
	err error
	// sum tells two sets apart, faults and permissions included.
	sum [sha256.Size]byte
}

func (p filePaths) read() fileSet {
	set := fileSet{paths: p, federated: make(map[spiffeid.TrustDomain][]byte)}
	var faults []error
	sum := sha256.New()
	read := func(file filePath) ([]byte, os.FileMode) {
		if file.path == "" {
			return nil, 0
		}
		text, mode, err := readFile(file.path, maxFile)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", file.variable, err))
			text = []byte(err.Error())
		}
		add(sum, text)
		return text, mode
	}
	set.chain, _ = read(p.chain)
	var mode os.FileMode
	set.key, mode = read(p.key)
	add(sum, []byte(mode.String()))
	if mode&0o007 != 0 {
		faults = append(faults, fmt.Errorf("%s: %s is open to everybody (mode %#o): use 0600, or in Kubernetes a defaultMode of 0440", p.key.variable, p.key.path, mode))
	}
	set.groupReadable = mode&0o070 != 0
	set.ca, _ = read(p.ca)
	for _, file := range p.federated {
		set.federated[file.domain], _ = read(file.filePath)
	}
	set.err = errors.Join(faults...)
	sum.Sum(set.sum[:0])
	return set
}

// add keeps "ab","c" and "a","bc" apart.
func add(sum hash.Hash, text []byte) {
	_ = binary.Write(sum, binary.BigEndian, uint64(len(text)))
	_, _ = sum.Write(text)
}

func (s fileSet) pair() (*tls.Certificate, error) {
	pair, err := parsePair(s.chain, s.key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", s.paths.chain.variable, s.paths.key.variable, err)
	}
	return pair, nil
}

func (s fileSet) anchors() (bundle, error) {
	return fileAnchors(s.paths.ca, s.ca)
}

func (s fileSet) foreign() (map[spiffeid.TrustDomain]bundle, error) {
	foreign := make(map[spiffeid.TrustDomain]bundle, len(s.federated))
	var faults []error
	for _, file := range s.paths.federated {
		found, err := fileAnchors(file.filePath, s.federated[file.domain])
		faults = append(faults, err)
		foreign[file.domain] = found
	}
	return foreign, errors.Join(faults...)
}

func fileAnchors(file filePath, text []byte) (bundle, error) {
	certs, err := parseAnchors(text)
	if err != nil {
		return bundle{}, fmt.Errorf("%s: %s: %w", file.variable, file.path, err)
	}
	return bundle{certs: certs, source: sourceFiles}, nil
}

// reload decides which sets to use and what to tell of them.
type reload struct {
	log  *slog.Logger
	good [sha256.Size]byte // what is in force
	bad  [sha256.Size]byte // what was found last and cannot be used
	// fault is why what was found cannot be used, once that was told.
	fault error
}

// look uses a set that differs from the one in force. Files are written one after
// the other, so a set that cannot be used is told of only when it is still the
// same at the next look, and once.
func (r *reload) look(set fileSet, use func(fileSet) error) {
	if set.sum == r.good {
		if r.fault != nil {
			r.log.Info("certificate files are again those in force", "cert_file", set.paths.chain.path, "ca_file", set.paths.ca.path)
		}
		r.bad, r.fault = [sha256.Size]byte{}, nil
		return
	}
	err := set.err
	if err == nil {
		err = use(set)
	}
	switch {
	case err == nil:
		r.good, r.bad, r.fault = set.sum, [sha256.Size]byte{}, nil
		r.log.Info("certificate files loaded", "cert_file", set.paths.chain.path, "ca_file", set.paths.ca.path)
		r.warn(set)
	case set.sum != r.bad:
		r.bad, r.fault = set.sum, nil
	case r.fault == nil:
		r.fault = fmt.Errorf("files cannot be used: %w", err)
		r.log.Warn("certificate files cannot be used, the last good ones stay in force", "cert_file", set.paths.chain.path, "cause", err.Error(),
			"hint", "put a certificate and its key that belong together into place, whole: they are read again when they change")
	}
}

func (r *reload) warn(set fileSet) {
	if set.groupReadable {
		r.log.Warn("key file is open to its group", "file", set.paths.key.path)
	}
}
