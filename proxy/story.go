package proxy

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
)

const (
	// storyLength is how many scrapes a route remembers.
	storyLength = 20
	// maxStoryText bounds what it remembers of a failure, in bytes.
	maxStoryText = 400
)

// ended is a scrape of a route that is over.
type ended struct {
	began   time.Time
	outcome Outcome
	size    int64 // bytes of the body that had come
	scraper authn.Identity
	err     error
}

// story is what a route remembers of its scrapes, for people who ask why a target does
// not scrape. It is made at the first scrape and holds 352 bytes: a proxy may have
// hundreds of thousands of routes. No metric is made of it.
type story struct {
	mu    sync.Mutex
	count uint64 // of all scrapes, and so where the next one goes
	// last is the outcome that says something of the route: not that a scraper hung up.
	last   uint8
	failed *FailureInfo
	ring   [storyLength]mark
}

// mark is one scrape in 16 bytes.
type mark struct {
	at   uint64 // milliseconds since 1970, and in the lowest byte the outcome
	took uint32 // microseconds, an hour at most
	size uint32 // bytes, 4 GiB at most
}

// outcomeCodes number the outcomes from 1, for marks.
var outcomeCodes = func() map[Outcome]uint8 {
	m := make(map[Outcome]uint8)
	for i, info := range Outcomes() {
		m[info.Outcome] = uint8(i + 1)
	}
	return m
}()

// outcomeNames has the outcome of each code; that of 0 is none.
var outcomeNames = func() []Outcome {
	names := []Outcome{""}
	for _, info := range Outcomes() {
		names = append(names, info.Outcome)
	}
	return names
}()

func newMark(e ended, now time.Time) mark {
	return mark{
		at:   uint64(now.UnixMilli())<<8 | uint64(outcomeCodes[e.outcome]),
		took: uint32(min(max(now.Sub(e.began).Microseconds(), 0), math.MaxUint32)),
		size: uint32(min(max(e.size, 0), math.MaxUint32)),
	}
}

func (m mark) outcome() Outcome { return outcomeNames[m.at&0xff] }

// info has no path: its place says of which route it is.
func (m mark) info() ScrapeInfo {
	return ScrapeInfo{
		At: time.UnixMilli(int64(m.at >> 8)).UTC(), Duration: float64(m.took) / 1e6, Bytes: int64(m.size), Outcome: m.outcome(),
	}
}

// remember adds a scrape, and says how the one before ended, "" without one, and whether
// this is otherwise.
func (r *route) remember(e ended) (before Outcome, news bool) {
	s := r.story.Load()
	if s == nil {
		s = new(story)
		if !r.story.CompareAndSwap(nil, s) {
			s = r.story.Load()
		}
	}
	now := time.Now()
	m := newMark(e, now)
	code := uint8(m.at)
	var failed *FailureInfo
	if e.outcome != OK && e.outcome != Cancelled {
		failed = &FailureInfo{At: now.UTC().Truncate(time.Millisecond), Outcome: e.outcome, Text: storyText(e.err), Scraper: e.scraper.String()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring[s.count%storyLength] = m
	s.count++
	if failed != nil {
		s.failed = failed
	}
	before = outcomeNames[s.last]
	if e.outcome == Cancelled {
		return before, false
	}
	s.last = code
	return before, before != e.outcome
}

// storyText is what went wrong, in one bounded line.
func storyText(err error) string {
	if err == nil {
		return ""
	}
	return oneLine(err.Error(), maxStoryText)
}

// lastOutcome is that of the last scrape that says something of the route, "" if there
// was none.
func (r *route) lastOutcome() Outcome {
	s := r.story.Load()
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return outcomeNames[s.last]
}

// recent are the scrapes that are remembered, the latest first, and the last failure.
func (r *route) recent() (scrapes []ScrapeInfo, failed *FailureInfo) {
	s := r.story.Load()
	if s == nil {
		return nil, nil
	}
	s.mu.Lock()
	ring, count := s.ring, s.count
	failed = s.failed
	s.mu.Unlock()
	for i := range min(count, storyLength) {
		scrapes = append(scrapes, ring[(count-1-i)%storyLength].info())
	}
	return slices.Clip(scrapes), failed
}
