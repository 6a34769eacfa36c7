package authz

import (
	"strings"
	"time"
)

// maxFailureBytes bounds what a status and a log line say of a broken policy, of
// which every test may have failed.
const maxFailureBytes = 8 << 10

// Status is what a Keeper has in force, and what it refused since.
type Status struct {
	Name string `json:"name"`
	// Kind is "builtin", "folder" or "bundle".
	Kind string `json:"kind"`
	// Revision names the content of the policy in force.
	Revision string `json:"revision"`
	// BundleRevision is that of the bundle's manifest.
	BundleRevision string `json:"bundle_revision,omitempty"`
	// Signed says that the bundle's signature was verified.
	Signed   bool      `json:"signed"`
	LoadedAt time.Time `json:"loaded_at"`
	// Failure is why what the place holds now is not in force; nil where it is.
	Failure *Failure `json:"failure,omitempty"`
}

// Failure is a policy that did not load.
type Failure struct {
	// At is when it was first seen.
	At time.Time `json:"at"`
	// Revision is that of the policy that did not load, empty where it could not
	// even be read.
	Revision string `json:"revision,omitempty"`
	// Error names file and line where there are any.
	Error string `json:"error"`
}

// Status is the present one.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	// What Failure points to is never changed.
	return k.status
}

func boundFailure(text string) string {
	if len(text) <= maxFailureBytes {
		return text
	}
	return strings.ToValidUTF8(text[:maxFailureBytes], "") + " and more"
}
