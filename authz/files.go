package authz

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// What a policy folder may hold. The bounds are far above any real policy; they
// keep a wrong path, such as a home folder, from being read into memory.
const (
	maxFileBytes   = 16 << 20
	maxFolderBytes = 64 << 20
	maxEntries     = 10_000
	maxDepth       = 16
)

// file is one file of a policy, by its slash-separated name in the folder.
type file struct {
	name    string
	content []byte
}

func (f file) isRego() bool { return strings.HasSuffix(f.name, ".rego") }

func (f file) isData() bool { return !f.isRego() && f.name != schemaFile }

func (f file) isTest() bool { return strings.HasSuffix(f.name, "_test.rego") }

// readable says whether a file of this name is part of a policy. All others, such
// as a README, are left alone.
func readable(name string) bool {
	switch path.Ext(name) {
	case ".rego", ".json", ".yaml", ".yml":
		return true
	}
	return false
}

// readFiles reads the policy files of fsys, in the order of their names. Names that
// begin with a dot are not read, so a Kubernetes volume counts once: there each
// visible name links into the hidden folder "..data", which in turn links to a
// hidden folder with a time stamp.
func readFiles(fsys fs.FS) ([]file, error) {
	r := folderReader{fsys: fsys}
	if err := r.folder(".", ".", 0); err != nil {
		return nil, err
	}
	slices.SortFunc(r.files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return r.files, nil
}

type folderReader struct {
	fsys    fs.FS
	files   []file
	bytes   int64
	entries int
}

// folder reads the folder that is found at real and seen as visible.
func (r *folderReader) folder(visible, real string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: more than %d folders deep, perhaps links in a circle", visible, maxDepth)
	}
	// The version is looked up once, so that all files come from one.
	version := r.volumeVersion(real)
	if version != "" {
		if err := r.list(visible, version, depth, func(fs.DirEntry) bool { return true }); err != nil {
			return err
		}
	}
	return r.list(visible, real, depth, func(e fs.DirEntry) bool {
		return version == "" || !r.isVolumeLink(real, e)
	})
}

// list reads the entries of the folder that is found at real and seen as visible.
func (r *folderReader) list(visible, real string, depth int, wanted func(fs.DirEntry) bool) error {
	entries, err := fs.ReadDir(r.fsys, real)
	if err != nil {
		return fmt.Errorf("reading folder: %w", err)
	}
	if r.entries += len(entries); r.entries > maxEntries {
		return fmt.Errorf("%s: more than %d entries in the policy folder", visible, maxEntries)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !wanted(e) {
			continue
		}
		if err := r.entry(path.Join(visible, e.Name()), path.Join(real, e.Name()), depth); err != nil {
			return err
		}
	}
	return nil
}

func (r *folderReader) entry(visible, real string, depth int) error {
	info, err := fs.Stat(r.fsys, real)
	if err != nil {
		return fmt.Errorf("%s: %w", visible, err)
	}
	switch {
	case info.IsDir():
		return r.folder(visible, real, depth+1)
	case !readable(visible):
		return nil
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: not a regular file", visible)
	}
	content, err := r.read(real)
	if err != nil {
		return fmt.Errorf("%s: %w", visible, err)
	}
	if r.bytes += int64(len(content)); r.bytes > maxFolderBytes {
		return fmt.Errorf("%s: the policy folder holds more than %d MiB", visible, maxFolderBytes>>20)
	}
	r.files = append(r.files, file{name: visible, content: content})
	return nil
}

func (r *folderReader) read(name string) ([]byte, error) {
	f, err := r.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFileBytes {
		return nil, fmt.Errorf("larger than %d MiB", maxFileBytes>>20)
	}
	return content, nil
}

// volumeVersion is the folder that "..data" in dir links to, empty where dir is not
// the root of a Kubernetes volume.
func (r *folderReader) volumeVersion(dir string) string {
	target, err := fs.ReadLink(r.fsys, path.Join(dir, "..data"))
	if err != nil {
		return ""
	}
	if version := path.Join(dir, target); fs.ValidPath(version) {
		return version
	}
	return ""
}

// isVolumeLink says whether e is the visible name of a file that is in the version of
// a Kubernetes volume. Visible names are put right only after the volume switched to
// a new version, so that for a moment they are those of the old one: the version's
// own names count.
func (r *folderReader) isVolumeLink(dir string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return false
	}
	target, err := fs.ReadLink(r.fsys, path.Join(dir, e.Name()))
	return err == nil && target == "..data/"+e.Name()
}

// sumOf is a hash over the names and bytes of the files.
func sumOf(files []file) [sha256.Size]byte {
	h := sha256.New()
	for _, f := range files {
		h.Write(binary.AppendUvarint(nil, uint64(len(f.name))))
		io.WriteString(h, f.name)
		h.Write(binary.AppendUvarint(nil, uint64(len(f.content))))
		h.Write(f.content)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// revisionOf names the content of the files: the first 48 bits of their sum, in hex.
func revisionOf(files []file) string {
	sum := sumOf(files)
	return hex.EncodeToString(sum[:6])
}
