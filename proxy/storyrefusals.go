package proxy

import (
	"container/list"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// verdict is an event with what people want to know besides.
type verdict struct {
	authz.Event
	// document is the input of a decision that denied; nil of others. It is called at
	// once or never.
	document func() []byte
	// why is the proxy's own reason, where the policy allowed.
	why string
	// redacted: the document has not the values that the policy saw.
	redacted bool
}

// withoutValues is what is remembered of a scrape's input: a query's values may be
// credentials, in a URL that should not have had any. Their number and the names stay.
func withoutValues(input authz.ScrapeInput) (document func() []byte, redacted bool) {
	if len(input.Request.Query) == 0 {
		return input.JSON, false
	}
	return func() []byte {
		query := make(map[string][]string, len(input.Request.Query))
		for name, values := range input.Request.Query {
			query[name] = slices.Repeat([]string{"redacted"}, len(values))
		}
		input.Request.Query = query
		return input.JSON()
	}, true
}

// How many refusals are remembered, in all and of one identity, of what agents and what
// scrapers were refused. Whoever may be refused can be refused ever new things.
const (
	maxAgentRejections, maxRejectionsPerAgent    = 256, 32
	maxScrapeRejections, maxRejectionsPerScraper = 128, 16
	// rejectionPause is how long the input of one refusal is the latest: a flood of
	// them costs counting.
	rejectionPause = time.Second
	// Agents offer a refused route again after five minutes and a quarter at most, and
	// Prometheus scrapes every two minutes or more often.
	standingFor = 7 * time.Minute
)

// rejections remembers what was refused lately: to whom, what, why, and what the policy
// was asked. No metric is made of it.
type rejections struct {
	mu      sync.Mutex
	agents  rejectionBook
	scrapes rejectionBook
}

func newRejections() *rejections {
	return &rejections{
		agents:  rejectionBook{most: maxAgentRejections, each: maxRejectionsPerAgent, byKey: make(map[rejectionKey]*list.Element), of: make(map[string]int)},
		scrapes: rejectionBook{most: maxScrapeRejections, each: maxRejectionsPerScraper, byKey: make(map[rejectionKey]*list.Element), of: make(map[string]int)},
	}
}

// rejectionBook keeps the latest refusal of each kind.
type rejectionBook struct {
	most, each int
	byKey      map[rejectionKey]*list.Element
	order      list.List // of *rejection, the latest first
	of         map[string]int
	// forgotten counts what there was no room for, and missed is when the last of it was
	// refused that had not been allowed since.
	forgotten uint64
	missed    time.Time
}

type rejectionKey struct{ action, identity, route string }

type rejection struct {
	rejectionKey
	first, last, asked, settled time.Time
	// takenBack is when an agent said that it does not offer it any more.
	takenBack             time.Time
	count                 uint64
	effect                authz.Effect
	why, remoteIP, serial string
	decision              authz.Decision
	document              []byte
	redacted              bool
}

func (r *rejections) bookOf(action string) *rejectionBook {
	if action == "scrape" || action == "admin" {
		return &r.scrapes
	}
	return &r.agents
}

// note remembers a no, and that what was refused before is allowed now.
func (r *rejections) note(v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	book, key := r.bookOf(v.Action), rejectionKey{v.Action, v.Identity, v.Route}
	if v.Effect == authz.Registered || v.Effect == authz.Admitted {
		if e, ok := book.byKey[key]; ok {
			x := e.Value.(*rejection)
			x.settled, x.takenBack = v.Time, time.Time{}
		}
		return
	}
	book.add(key, v)
}

func (b *rejectionBook) add(key rejectionKey, v verdict) {
	e, ok := b.byKey[key]
	if !ok {
		if !b.makeRoom(key.identity, v.Time) {
			b.forget(v.Time)
			return
		}
		e = b.order.PushFront(&rejection{rejectionKey: key, first: v.Time})
		b.byKey[key] = e
		b.of[key.identity]++
	}
	b.order.MoveToFront(e)
	x := e.Value.(*rejection)
	x.count++
	x.last, x.settled, x.takenBack = v.Time, time.Time{}, time.Time{}
	if x.count > 1 && v.Time.Sub(x.asked) < rejectionPause && v.Decision.Revision == x.decision.Revision {
		return
	}
	x.asked = v.Time
	x.effect, x.why, x.remoteIP, x.serial, x.decision, x.document = v.Effect, v.why, v.RemoteIP, v.Serial, v.Decision, nil
	if v.document != nil {
		x.document, x.redacted = v.document(), v.redacted
	}
}

// open tells whether nothing has come since that ended it.
func (x *rejection) open() bool { return x.settled.IsZero() && x.takenBack.IsZero() }

// takeBack notes that an agent no longer wants paths that it does not hold. A replica that
// wants one still offers it again within minutes, and is refused again.
func (r *rejections) takeBack(s *session, paths []string) {
	if len(paths) == 0 {
		return
	}
	now, identity := time.Now(), s.identity.String()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, path := range paths {
		if e, ok := r.agents.byKey[rejectionKey{"register", identity, path}]; ok {
			if x := e.Value.(*rejection); x.open() {
				x.takenBack = now
			}
		}
	}
}

// makeRoom forgets the oldest where there are too many, of that identity or of all;
// false: even that is too young.
func (b *rejectionBook) makeRoom(identity string, now time.Time) bool {
	oldest := b.order.Back()
	switch {
	case b.of[identity] >= b.each:
		for oldest != nil && oldest.Value.(*rejection).identity != identity {
			oldest = oldest.Prev()
		}
	case b.order.Len() < b.most:
		return true
	}
	if oldest == nil || now.Sub(oldest.Value.(*rejection).last) < rejectionPause {
		return false
	}
	x := b.order.Remove(oldest).(*rejection)
	if x.open() {
		b.forget(x.last)
	} else {
		b.forgotten++
	}
	delete(b.byKey, x.rejectionKey)
	if b.of[x.identity]--; b.of[x.identity] == 0 {
		delete(b.of, x.identity)
	}
	return true
}

// forget notes that there is no room for what was refused at that time.
func (b *rejectionBook) forget(at time.Time) {
	b.forgotten++
	if at.After(b.missed) {
		b.missed = at
	}
}

// absent notes a scrape of a path that is no route, which no policy refuses.
func (r *rejections) absent(scraper authn.Identity, remoteIP, path, why string) {
	r.note(verdict{
		Event: authz.Event{Time: time.Now(), Action: "scrape", Effect: authz.Refused, Identity: scraper.String(), Route: path, RemoteIP: remoteIP},
		why:   why,
	})
}

// invalid notes an offer that no policy was asked about.
func (r *rejections) invalid(s *session, path string, err error) {
	v := s.event("register", time.Now())
	v.Effect, v.Route, v.why = authz.Refused, oneLine(path, tunnelv1.MaxPath), err.Error()
	r.note(v)
}

// turnedAway notes an agent that got no session, unless a decision says so.
func (r *rejections) turnedAway(s *session, err error) {
	var why *refusal
	if errors.As(err, &why) && why.word == "" && why.code != tunnelv1.Goodbye_PROTOCOL {
		return
	}
	v := s.event("session", time.Now())
	v.Effect, v.Identity, v.why = authz.Refused, s.identity.String(), oneLine(err.Error(), maxStoryText)
	r.note(v)
}
