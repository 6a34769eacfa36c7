//go:build unix

package daemon

import (
	"syscall"
	"time"
)

// cpuTime is what the process has used so far; false where that is not known.
func cpuTime() (time.Duration, bool) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, false
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), true
}
