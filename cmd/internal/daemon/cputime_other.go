//go:build !unix

package daemon

import "time"

// cpuTime is what the process has used so far; false where that is not known.
func cpuTime() (time.Duration, bool) { return 0, false }
