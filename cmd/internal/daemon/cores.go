package daemon

import (
	"context"
	"runtime"
	"strings"
	"time"
)

const (
	loadEvery = 100 * time.Millisecond
	// calmBefore is how long there must be little to do before a core is given up.
	calmBefore = 3 * time.Second
)

// cores is how many cores the daemon uses: GOMAXPROCS. A scrape is a chain of
// goroutines that wake one another, and with a core to spare each wake also sets a
// thread spinning there to look for work. On two cores that is a third of the CPU of
// a small scrape, and twice its time. So a daemon begins with one, takes more when
// it has work for them, and gives them back.
type cores struct {
	now, most int
	calm      time.Duration // for which fewer would have done
}

// follow is how many to use from now on, after so much CPU time in so much time.
func (c *cores) follow(used, took time.Duration) int {
	load := used.Seconds() / took.Seconds()
	switch {
	case load > 0.9*float64(c.now):
		c.now, c.calm = min(2*c.now, c.most), 0
	case c.now > 1 && load < 0.7*float64(c.now/2):
		if c.calm += took; c.calm >= calmBefore {
			c.now, c.calm = c.now/2, 0
		}
	default:
		c.calm = 0
	}
	return c.now
}

// followLoad adapts GOMAXPROCS until ctx ends, and then leaves it as it was. Who has
// set the variable GOMAXPROCS has decided.
func followLoad(ctx context.Context, environ []string) {
	before, ok := cpuTime()
	for _, variable := range environ {
		ok = ok && !strings.HasPrefix(variable, "GOMAXPROCS=")
	}
	if !ok {
		return
	}
	runtime.SetDefaultGOMAXPROCS() // which knows of a container's limit
	defer runtime.SetDefaultGOMAXPROCS()
	c := cores{now: 1, most: runtime.GOMAXPROCS(1)}
	ticker := time.NewTicker(loadEvery)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		used, _ := cpuTime()
		now, old := time.Now(), c.now
		if c.follow(used-before, now.Sub(last)) != old {
			runtime.GOMAXPROCS(c.now) // stops the world, if for a moment
		}
		before, last = used, now
	}
}
