package daemon

import (
	"context"
	"runtime"
	"runtime/metrics"
	"strings"
	"time"
)

const (
	loadEvery = 100 * time.Millisecond
	// calmBefore is how long there must be little to do before a core is given up.
	calmBefore = 3 * time.Second
	// crowdedBefore is how long work must wait for a core before there is one more.
	crowdedBefore = 500 * time.Millisecond
	// crowd is how many goroutines for each core that wait for one are many.
	crowd = 4
)

// cores is how many cores the daemon uses: GOMAXPROCS. A scrape is a chain of
// goroutines that wake one another, and with a core to spare each wake also sets a
// thread spinning there to look for work. On two cores that is a third of the CPU of
// a small scrape, and twice its time. So a daemon begins with one, takes more when
// it has work for them, and gives them back.
type cores struct {
	now, most int
	calm      time.Duration // for which fewer would have done
	crowded   time.Duration // for which work has waited
}

// load is what there was to do in some time.
type load struct {
	took     time.Duration
	used     time.Duration // of CPU
	runnable int           // goroutines that wait for a core, at the end
}

// follow is how many to use from now on. What keeps a core busy is not the only sign:
// on a machine that others use, too, the daemon may never get one for itself.
func (c *cores) follow(l load) int {
	busy := l.used.Seconds() / l.took.Seconds()
	c.crowded += l.took
	if l.runnable <= crowd*c.now {
		c.crowded = 0
	}
	switch {
	case busy > 0.9*float64(c.now) || c.crowded >= crowdedBefore:
		c.now, c.calm, c.crowded = min(2*c.now, c.most), 0, 0
	case c.now > 1 && c.crowded == 0 && busy < 0.7*float64(c.now/2):
		if c.calm += l.took; c.calm >= calmBefore {
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
	defer runtime.SetDefaultGOMAXPROCS()
	c := cores{now: 1}
	c.apply()
	runnable := []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}
	ticker := time.NewTicker(loadEvery)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		used, _ := cpuTime()
		metrics.Read(runnable)
		now, old := time.Now(), c.now
		if c.follow(load{took: now.Sub(last), used: used - before, runnable: int(runnable[0].Value.Uint64())}) != old {
			c.apply()
		}
		before, last = used, now
	}
}

// apply stops the world, if for a moment. It asks anew how many cores there are: a
// container's limit may be another by now.
func (c *cores) apply() {
	runtime.SetDefaultGOMAXPROCS()
	c.most = runtime.GOMAXPROCS(0)
	c.now = min(c.now, c.most)
	runtime.GOMAXPROCS(c.now)
}
