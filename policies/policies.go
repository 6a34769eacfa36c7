// Package policies holds the Rego that ships with the proxy, one folder for each
// environment. The commands hand a folder to authz; a team may copy one and change
// it. The package itself compiles and decides nothing.
package policies

import (
	"embed"
	"io/fs"
)

//go:embed default dev prod staging
var folders embed.FS

// Builtin is the folder of the policy "builtin:NAME", false where there is none of
// that name.
func Builtin(name string) (fs.FS, bool) {
	for _, known := range Names() {
		if name == known {
			sub, err := fs.Sub(folders, name)
			return sub, err == nil
		}
	}
	return nil, false
}

// Names are those of the policies that ship.
func Names() []string { return []string{"default", "dev", "prod", "staging"} }
