package authz

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// maxArchiveBytes bounds a bundle once it is decompressed: what a folder may hold,
// and the archive's own headers. A few kilobytes may claim to be gigabytes.
const maxArchiveBytes = maxFolderBytes + 16<<20

// unpackArchive reads every file of a bundle, in the order of their names.
func unpackArchive(r io.Reader) ([]file, error) {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("not an archive that gzip made: %w", err)
	}
	bounded := &boundedReader{r: unzipped, left: maxArchiveBytes}
	u := unpacker{tar: tar.NewReader(bounded), seen: make(map[string]bool)}
	for err == nil {
		err = u.next()
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("unpacking: %w", err)
	}
	// The checksum is at the very end: without it a file of which half is written
	// could pass for a whole one.
	if _, err := io.Copy(io.Discard, bounded); err != nil {
		return nil, fmt.Errorf("unpacking: %w", err)
	}
	slices.SortFunc(u.files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return u.files, nil
}

type unpacker struct {
	tar     *tar.Reader
	files   []file
	seen    map[string]bool
	bytes   int64
	entries int
}

// next reads one entry; [io.EOF] is the end of the archive, and only that.
func (u *unpacker) next() error {
	header, err := u.tar.Next()
	if err != nil {
		return err
	}
	if u.entries++; u.entries > maxEntries {
		return fmt.Errorf("more than %d entries", maxEntries)
	}
	switch header.Typeflag {
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return nil
	case tar.TypeReg:
	default:
		return fmt.Errorf("%q: not a regular file", header.Name)
	}
	name, err := u.name(header.Name)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(io.LimitReader(u.tar, maxFileBytes+1))
	switch {
	case err != nil:
		return fmt.Errorf("%q: %w", name, notEnd(err))
	case len(content) > maxFileBytes:
		return fmt.Errorf("%q: larger than %d MiB", name, maxFileBytes>>20)
	}
	if u.bytes += int64(len(content)); u.bytes > maxFolderBytes {
		return fmt.Errorf("%q: the bundle holds more than %d MiB", name, maxFolderBytes>>20)
	}
	u.files = append(u.files, file{name: name, content: content})
	return nil
}

// name is the one place of an entry. Two entries for one place are refused, and so is
// a hidden file of a kind that counts: OPA would take it as part of the policy, a
// folder would not.
func (u *unpacker) name(given string) (string, error) {
	name := strings.TrimPrefix(path.Clean("/"+given), "/")
	switch {
	case name == "" || strings.ContainsAny(given, "\\\x00") || slices.Contains(strings.Split(given, "/"), ".."):
		return "", fmt.Errorf("%q: not the name of a file", given)
	case strings.Count(name, "/") > maxDepth:
		return "", fmt.Errorf("%q: more than %d folders deep", name, maxDepth)
	case u.seen[name]:
		return "", fmt.Errorf("%q: stands twice in the archive", name)
	case strings.HasSuffix(name, ".manifest.pb"):
		return "", fmt.Errorf("%q: a manifest must be JSON", name)
	case hidden(name) && name != manifestFile && name != signaturesFile &&
		(readable(name) || strings.HasSuffix(name, manifestFile)):
		return "", fmt.Errorf("%q: a bundle holds no hidden files but %s and %s", name, manifestFile, signaturesFile)
	}
	u.seen[name] = true
	return name, nil
}

// notEnd makes sure that a file cut short is not taken for the end of the archive.
func notEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// boundedReader fails where it would have to give more than left bytes.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("more than %d MiB when decompressed", maxArchiveBytes>>20)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
