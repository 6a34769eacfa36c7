// Package policy finds the policy that an operator named, and tells a policy for
// whom it decides. Only commands that decide import it; compiling is authz's.
package policy

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/policies"
)

// builtin begins the name of a policy that ships in the binary.
const builtin = "builtin:"

// Find returns the place of that name: builtin:NAME, a folder, or a bundle file. With
// a key file the place must be a bundle, since nothing else can be signed. It reads
// the key, but not the policy.
func Find(name, keyFile string) (authz.Place, error) {
	if strings.HasPrefix(name, builtin) {
		fsys, err := shipped(name)
		if err != nil {
			return nil, err
		}
		return authz.BuiltinPlace(fsys, name), unsigned(name, keyFile)
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return authz.FolderPlace(os.DirFS(name), name), unsigned(name, keyFile)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%q is neither %sNAME nor a folder nor a bundle file", name, builtin)
	case keyFile == "":
		return authz.BundlePlace(name, nil), nil
	}
	key, err := authz.LoadKey(keyFile)
	if err != nil {
		return nil, &KeyError{err}
	}
	return authz.BundlePlace(name, key), nil
}

// KeyError is a fault of the key file, not of the policy.
type KeyError struct{ error }

func (e *KeyError) Unwrap() error { return e.error }

// unsigned refuses a key for what has no signature: whoever set one believes that it
// is checked.
func unsigned(name, keyFile string) error {
	if keyFile == "" {
		return nil
	}
	return &KeyError{fmt.Errorf("there is a key, but %q is no bundle and cannot be signed", name)}
}

// Describe says in one line which policy is in force.
func Describe(s authz.Status) string {
	text := fmt.Sprintf("%s, revision %s", s.Name, s.Revision)
	if s.BundleRevision != "" {
		text += ", bundle revision " + s.BundleRevision
	}
	switch {
	case s.Kind != "bundle":
	case s.Signed:
		text += ", signature verified"
	default:
		text += ", signature not verified"
	}
	return text
}

// Files returns the files of a policy that is a folder or builtin:NAME.
func Files(name string) (fs.FS, error) {
	if strings.HasPrefix(name, builtin) {
		return shipped(name)
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%q is neither a folder nor %sNAME", name, builtin)
	}
	return os.DirFS(name), nil
}

func shipped(name string) (fs.FS, error) {
	fsys, ok := policies.Builtin(strings.TrimPrefix(name, builtin))
	if !ok {
		return nil, fmt.Errorf("no policy %q ships, only %s%s", name, builtin, strings.Join(policies.Names(), ", "+builtin))
	}
	return fsys, nil
}

// Self returns what tells a policy who the deciding proxy is, as the source had it last:
// a proxy whose certificate has ended is still who it was to the peers that it has, and
// they do not lose what the policy gives them because of it. Nobody before the source had
// anything.
func Self(source authn.Source) func() authz.ProxyInput {
	var last atomic.Pointer[authz.ProxyInput]
	return func() authz.ProxyInput {
		held := last.Load()
		material, err := source.Material()
		switch {
		case err == nil:
			self := authz.ProxyInput{ID: material.Identity.String(), TrustDomain: material.TrustDomain}
			if held == nil || *held != self {
				last.Store(&self)
			}
			return self
		case held != nil:
			return *held
		}
		return authz.ProxyInput{}
	}
}
