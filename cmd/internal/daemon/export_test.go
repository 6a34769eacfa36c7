package daemon

import "time"

// Others is what each daemon is told of the other's variables.
var Others = others

// FollowLoad adapts GOMAXPROCS until its context ends.
var FollowLoad = followLoad

// Cores is how a daemon that may use so many cores follows its load.
func Cores(most int) func(took, used time.Duration, runnable int) int {
	c := &cores{now: 1, most: most}
	return func(took, used time.Duration, runnable int) int {
		return c.follow(load{took: took, used: used, runnable: runnable})
	}
}
