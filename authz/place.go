package authz

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
)

// The kinds of places.
const (
	kindBuiltin = "builtin"
	kindFolder  = "folder"
	kindBundle  = "bundle"
)

// Place is where a policy is kept: what [BuiltinPlace], [FolderPlace] and
// [BundlePlace] return.
type Place interface {
	// Name is what the operator calls the place.
	Name() string
	// Kind is "builtin", "folder" or "bundle".
	Kind() string

	// look reads what is there now.
	look() (content, error)
	// unpack makes files of what was read, and refuses what must not be loaded.
	unpack(content) (parcel, error)
}

// content is what a place held at one moment.
type content struct {
	sum     [sha256.Size]byte // of everything that was read
	files   []file
	archive []byte
}

// parcel is a policy that was read but not compiled.
type parcel struct {
	files    []file
	sum      [sha256.Size]byte // of the files
	revision string            // the manifest's, empty where there is none
	signed   bool              // with the key of the place
	// unverified is set where there is a signature but no key.
	unverified bool
}

// BuiltinPlace is a policy that ships in the binary. It does not change.
func BuiltinPlace(fsys fs.FS, name string) Place {
	return folderPlace{fsys: fsys, name: name, kind: kindBuiltin}
}

// FolderPlace is a folder of Rego and data, as for [Compile].
func FolderPlace(fsys fs.FS, name string) Place {
	return folderPlace{fsys: fsys, name: name, kind: kindFolder}
}

type folderPlace struct {
	fsys       fs.FS
	name, kind string
}

func (p folderPlace) Name() string { return p.name }
func (p folderPlace) Kind() string { return p.kind }

// lookTries: a version of a Kubernetes volume is removed right after it was
// replaced, perhaps while it is read.
const lookTries = 10

func (p folderPlace) look() (content, error) {
	files, err := readFiles(p.fsys)
	for try := 1; try < lookTries && errors.Is(err, fs.ErrNotExist); try++ {
		files, err = readFiles(p.fsys)
	}
	if err != nil {
		return content{}, err
	}
	return content{sum: sumOf(files), files: files}, nil
}

func (p folderPlace) unpack(c content) (parcel, error) {
	return parcel{files: c.files, sum: c.sum}, nil
}

// Load compiles what the place holds now, as [Compile] does.
func Load(ctx context.Context, place Place, opts Options) (*Policy, error) {
	_, got, err := readPlace(place)
	if err != nil {
		return nil, err
	}
	return compileFiles(ctx, got.files, opts)
}

// readPlace looks until it sees the same twice: a link to a folder may be switched to
// another one in the midst of a look. Where that goes on for ever it is content with
// what it saw last.
func readPlace(place Place) (content, parcel, error) {
	c, err := place.look()
	for range lookTries {
		before := c.sum
		if err != nil {
			break
		}
		if c, err = place.look(); c.sum == before {
			break
		}
	}
	if err != nil {
		return content{}, parcel{}, fmt.Errorf("reading policy: %w", err)
	}
	got, err := place.unpack(c)
	if err != nil {
		return content{}, parcel{}, fmt.Errorf("reading policy: %w", err)
	}
	return c, got, nil
}
