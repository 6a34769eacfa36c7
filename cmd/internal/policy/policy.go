// Package policy finds the policy that an operator named, and tells a policy for
// whom it decides. Only commands with a proxy import it; compiling is authz's.
package policy

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/policies"
)

// builtin begins the name of a policy that ships in the binary.
const builtin = "builtin:"

// Load compiles the policy of that name: builtin:NAME, or a folder.
func Load(ctx context.Context, name string) (*authz.Policy, error) {
	fsys, err := open(name)
	if err != nil {
		return nil, err
	}
	return authz.Compile(ctx, fsys, authz.Options{})
}

func open(name string) (fs.FS, error) {
	if short, ok := strings.CutPrefix(name, builtin); ok {
		fsys, ok := policies.Builtin(short)
		if !ok {
			return nil, fmt.Errorf("no policy %q ships, only %s%s", name, builtin, strings.Join(policies.Names(), ", "+builtin))
		}
		return fsys, nil
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

// Self returns what tells a policy who the deciding proxy is, as the source has
// it at the time; nobody where the source has nothing.
func Self(source authn.Source) func() authz.ProxyInput {
	return func() authz.ProxyInput {
		material, err := source.Material()
		if err != nil {
			return authz.ProxyInput{}
		}
		return authz.ProxyInput{ID: material.Identity.String(), TrustDomain: material.TrustDomain}
	}
}
