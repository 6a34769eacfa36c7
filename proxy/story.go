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
	given   time.Duration // by the scraper
	err     error
}

// fairTime is how much time a scraper has to give before a route is blamed for not having
// kept it. Prometheus gives ten seconds unless it is told otherwise; with a thousandth of
// one any route fails.
const fairTime = time.Second

// tells says whether the end of a scrape tells of its route. A scraper that asks for what
// the target does not take, for too much at once or for a miracle would else make a route
// fail for all who look.
func (e ended) tells() bool {
	switch e.outcome {
	case Cancelled, BadRequest, Busy, Draining, NotFound:
		return false
	case TargetTimeout, AgentTimeout, Truncated:
		return e.given >= fairTime
	}
	return true
}

// story is what a route remembers of its scrapes, for people who ask why a target does
// not scrape. It is made at the first scrape and holds 352 bytes: a proxy may have
// hundreds of thousands of routes. No metric is made of it.
type story struct {
	mu     sync.Mutex
	failed *FailureInfo
	count  uint32 // of all scrapes, and so where the next one goes
	// failing and working are when the log was last told so, in seconds since 1970, and
	// told is the outcome that it knows.
	failing, working uint32
	told             uint8
	// last is the last outcome that tells of the route.
	last uint8
	ring [storyLength]mark
}

// newsPause is how long the log is not told again that a route's scrapes fail, or that
// they work: some do either at every second time.
const newsPause = time.Minute

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

// remember adds a scrape, and says whether that is news for the log.
func (r *route) remember(e ended) (news bool) {
	s := r.story.Load()
	if s == nil {
		s = new(story)
		if !r.story.CompareAndSwap(nil, s) {
			s = r.story.Load()
		}
	}
	now := time.Now()
	m := newMark(e, now)
	var failed *FailureInfo
	if e.outcome != OK && e.outcome != Cancelled {
		failed = &FailureInfo{At: now.UTC().Truncate(time.Millisecond), Outcome: e.outcome, Text: storyText(e.err), Scraper: e.scraper.String()}
	}
	tells := e.tells()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring[s.count%storyLength] = m
	s.count++
	// Why a route fails is not to be hidden by what a scraper did wrong.
	if failed != nil && (tells || !failing(outcomeNames[s.last])) {
		s.failed = failed
	}
	if !tells {
		return false
	}
	s.last = uint8(m.at)
	return s.tell(now)
}

// tell says whether the last outcome is other than the log knows.
func (s *story) tell(now time.Time) (news bool) {
	at := &s.working
	if failing(outcomeNames[s.last]) {
		at = &s.failing
	} else if s.told == 0 {
		return false // it works, as it should
	}
	seconds := uint32(now.Unix())
	if s.told == s.last || *at > 0 && seconds-*at < uint32(newsPause/time.Second) {
		return false
	}
	s.told, *at = s.last, seconds
	return true
}

// storyText is what went wrong, in one bounded line.
func storyText(err error) string {
	if err == nil {
		return ""
	}
	return oneLine(err.Error(), maxStoryText)
}

// lastOutcome is that of the last scrape that tells of the route, "" if there was none.
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
