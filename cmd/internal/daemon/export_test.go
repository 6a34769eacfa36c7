package daemon

import "time"

// Others is what each daemon is told of the other's variables.
var Others = others

// Cores is how a daemon that may use so many cores follows its load.
func Cores(most int) func(used, took time.Duration) int {
	return (&cores{now: 1, most: most}).follow
}
