package authn

import (
	"math/rand/v2"
	"time"
)

const (
	firstDelay = 250 * time.Millisecond
	// Less than the 5 s within which a source that is back must be in use.
	maxDelay = 4 * time.Second
)

// backoff gives delays that grow by 1.6 up to 4 s, each drawn from zero to there:
// a thousand workloads that lost one node's agent come back spread out.
type backoff struct{ ceiling time.Duration }

func (b *backoff) next() time.Duration {
	b.ceiling = min(max(b.ceiling*8/5, firstDelay), maxDelay)
	return rand.N(b.ceiling)
}

func (b *backoff) reset() { b.ceiling = 0 }
