package authn

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// maxCRLFile is enough for a few hundred thousand entries.
const maxCRLFile = 16 << 20

// crlFiles follow the files of SALLYPORT_TLS_CRL_FILES. They stand apart from the
// files of certificates: neither keeps the other from being renewed.
type crlFiles struct {
	log   *slog.Logger
	files []*crlFile
	// warned are the lists whose trouble with time was told.
	warned map[*revocations]bool
}

type crlFile struct {
	path   string
	lists  []*revocations
	good   [sha256.Size]byte // what lists were read from
	bad    [sha256.Size]byte // what was found last and cannot be used
	broken bool
}

// newCRLFiles reads every file. A fault is an error; a list that is out of date
// is none.
func newCRLFiles(paths []string, log *slog.Logger) (*crlFiles, error) {
	c := &crlFiles{log: log, warned: make(map[*revocations]bool)}
	var faults []error
	for _, path := range paths {
		file := &crlFile{path: path}
		lists, sum, err := file.read()
		if err != nil {
			faults = append(faults, fmt.Errorf("SALLYPORT_TLS_CRL_FILES: %w", err))
		}
		file.lists, file.good = lists, sum
		c.files = append(c.files, file)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return c, nil
}

// look reads the files again and reports whether something has changed.
func (c *crlFiles) look() bool {
	changed := false
	for _, file := range c.files {
		changed = file.look(c.log) || changed
	}
	c.warn(time.Now())
	return changed
}

// look takes over what is new. What cannot be used may be half written, so it
// counts only when it is still the same at the next look.
func (f *crlFile) look(log *slog.Logger) bool {
	wasBroken := f.broken
	lists, sum, err := f.read()
	switch {
	case err == nil && sum == f.good:
		f.broken, f.bad = false, [sha256.Size]byte{}
		return wasBroken
	case err == nil:
		f.lists, f.good, f.broken, f.bad = lists, sum, false, [sha256.Size]byte{}
		for _, l := range lists {
			log.Info("CRL loaded", "file", f.path, "issuer", l.Issuer.String(), "revoked", len(l.revoked), "next_update", l.NextUpdate)
		}
		return true
	case sum != f.bad:
		f.bad = sum
		return false
	case !f.broken:
		f.broken = true
		log.Warn("CRL cannot be used: until it can, its authority's certificates are refused in new handshakes", "file", f.path, "cause", err.Error())
		return true
	}
	return false
}

// read returns the lists of the file as it is, and a sum that tells it from any
// other, faults included.
func (f *crlFile) read() ([]*revocations, [sha256.Size]byte, error) {
	text, _, err := readFile(f.path, maxCRLFile)
	if err != nil {
		return nil, sha256.Sum256([]byte(err.Error())), err
	}
	sum := sha256.Sum256(text)
	if sum == f.good && f.lists != nil {
		return f.lists, sum, nil
	}
	lists, err := parseCRLs(text)
	if err != nil {
		return nil, sum, fmt.Errorf("%s: %w", f.path, err)
	}
	return lists, sum, nil
}

// warn tells once of each list that lets nobody in by the clock.
func (c *crlFiles) warn(now time.Time) {
	told := make(map[*revocations]bool)
	for _, file := range c.files {
		for _, l := range file.lists {
			err := crl{revocations: l, file: file.path}.trouble(now)
			if err == nil {
				continue
			}
			told[l] = true
			if !c.warned[l] {
				c.log.Warn("CRL is not valid now: its authority's certificates are refused in new handshakes, put a current one into its place", "file", file.path, "cause", err.Error())
			}
		}
	}
	c.warned = told
}

// current returns what holds now; nil where no files are configured.
func (c *crlFiles) current() *crls {
	if len(c.files) == 0 {
		return nil
	}
	var now crls
	for _, file := range c.files {
		for _, l := range file.lists {
			now.lists = append(now.lists, crl{revocations: l, file: file.path, broken: file.broken})
		}
	}
	return &now
}

// unlisted are those anchors whose authority has no list: what they issued is
// never revoked.
func (c *crls) unlisted(b bundle) []string {
	var names []string
	for _, cert := range b.certs {
		if c != nil && !slices.ContainsFunc(c.lists, func(l crl) bool { return l.concerns(cert) }) {
			names = append(names, cert.Subject.String())
		}
	}
	return names
}
