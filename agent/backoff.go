package agent

import (
	"math/rand/v2"
	"time"
)

// backoff spaces out attempts with full jitter: each wait is anywhere between
// nothing and a ceiling that grows, so that a thousand agents that lost one proxy
// do not come back in step.
type backoff struct {
	base, most time.Duration
	factor     float64
	ceiling    time.Duration // 0: at the base
}

func (b *backoff) next() time.Duration {
	if b.ceiling == 0 {
		b.ceiling = b.base
	}
	wait := rand.N(b.ceiling + 1)
	b.ceiling = min(time.Duration(float64(b.ceiling)*b.factor), b.most)
	return wait
}

func (b *backoff) reset() { b.ceiling = 0 }
