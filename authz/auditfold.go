package authz

import (
	"slices"
	"strings"
	"time"
)

// How many kinds of denial are told apart within ten seconds. Whoever may be denied
// can be denied for ever new paths; beyond these they share a line.
const (
	maxFolds            = 4096
	maxFoldsPerIdentity = 256
)

// folded is an event, or the last of several that are alike.
type folded struct {
	event *Event
	// count is of how many events the line tells, 0 for one that was not folded.
	count int
	// various events have no more in common than what various shows.
	various bool
}

// foldKey is what events have in common that share a line.
type foldKey struct {
	action                   string
	effect                   Effect
	identity, route          string
	reasons, fault, revision string
	various                  bool
}

// folds counts denials that are alike. The first of a kind is for its own line.
type folds struct {
	byKey       map[foldKey]*fold
	perIdentity map[string]int
}

type fold struct {
	folded
	since time.Time
}

func (f *fold) repeat(e *Event) {
	f.count++
	if !f.various {
		f.event = e
	}
}

func newFolds() folds {
	return folds{byKey: make(map[foldKey]*fold), perIdentity: make(map[string]int)}
}

// isNew tells whether e is the first of its kind; it is counted otherwise.
func (f *folds) isNew(e *Event, now time.Time) bool {
	key := foldKey{
		action: e.Action, effect: e.Effect, identity: e.Identity, route: e.Route,
		reasons: strings.Join(e.Decision.Reasons, "\n"), fault: faultWord(e.Decision.Fault), revision: e.Decision.Revision,
	}
	if known, ok := f.byKey[key]; ok {
		known.repeat(e)
		return false
	}
	if f.perIdentity[key.identity] >= maxFoldsPerIdentity {
		key = foldKey{action: e.Action, effect: e.Effect, identity: e.Identity, various: true}
	}
	if _, ok := f.byKey[key]; !ok && len(f.byKey) >= maxFolds {
		key = foldKey{action: e.Action, effect: e.Effect, various: true}
	}
	if known, ok := f.byKey[key]; ok {
		known.repeat(e)
		return false
	}
	kind := &fold{since: now}
	f.byKey[key] = kind
	f.perIdentity[key.identity]++
	if key.various {
		common := Event{Time: e.Time, Action: key.action, Effect: key.effect, Identity: key.identity}
		kind.folded = folded{event: &common, count: 1, various: true}
	}
	return !key.various
}

// due takes the counts of kinds that began before then. A kind that was not seen
// again since its last line is forgotten.
func (f *folds) due(then time.Time) []folded {
	var lines []folded
	for key, kind := range f.byKey {
		if kind.since.After(then) {
			continue
		}
		if kind.count > 0 {
			lines = append(lines, kind.folded)
		}
		if kind.count > 0 && !key.various {
			kind.since, kind.folded = then.Add(foldAfter), folded{}
			continue
		}
		delete(f.byKey, key)
		if f.perIdentity[key.identity]--; f.perIdentity[key.identity] == 0 {
			delete(f.perIdentity, key.identity)
		}
	}
	slices.SortFunc(lines, func(a, b folded) int { return a.event.Time.Compare(b.event.Time) })
	return lines
}
