package agent

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
)

// table holds the endpoints by path. Scrapes look up a snapshot without a lock;
// a replacement swaps the snapshot.
type table struct {
	ways

	mu      sync.Mutex // held by the one who replaces
	current atomic.Pointer[snapshot]
}

// ways are those to the targets.
type ways struct {
	shared    *http.Transport   // to targets without a TLS of their own
	idleConns int               // of a transport
	self      http.RoundTripper // to the agent itself; nil: there is none
}

// snapshot is what the table held at one time.
type snapshot struct {
	endpoints map[string]*endpoint
	// replaced is closed when the snapshot is no longer the current one.
	replaced chan struct{}
}

// change counts what a replacement did.
type change struct{ added, removed, changed int }

func newTable(idleConns int, self http.RoundTripper) *table {
	t := &table{ways: ways{shared: newTransport(idleConns), idleConns: idleConns, self: self}}
	t.current.Store(&snapshot{replaced: make(chan struct{})})
	return t
}

func (t *table) load() *snapshot { return t.current.Load() }

// replace makes targets the whole content, all of them or, if one is faulty,
// none. A target that did not change keeps its endpoint and its connections.
func (t *table) replace(targets Targets) (change, error) {
	if err := targets.Validate(); err != nil {
		return change{}, targets.withFileFaults(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()

	old := t.current.Load()
	next := &snapshot{
		endpoints: make(map[string]*endpoint, len(targets)),
		replaced:  make(chan struct{}),
	}
	var c change
	var faults []error
	for i := range targets {
		target := &targets[i]
		before := old.endpoints[target.Path]
		if before != nil && before.same(target) {
			next.endpoints[target.Path] = before
			continue
		}
		e, err := newEndpoint(*target, t.ways)
		if err != nil {
			faults = append(faults, unjoin(prefixed(target.Path+": ", err))...)
			continue
		}
		next.endpoints[target.Path] = e
		if before == nil {
			c.added++
		} else {
			c.changed++
		}
	}
	if len(faults) > 0 {
		return change{}, errors.Join(faults...)
	}
	c.removed = len(old.endpoints) + c.added - len(next.endpoints)
	t.current.Store(next)
	close(old.replaced)
	for path, e := range old.endpoints {
		if next.endpoints[path] != e {
			e.close()
		}
	}
	return c, nil
}

// close ends all idle connections to targets.
func (t *table) close() {
	t.shared.CloseIdleConnections()
	for _, e := range t.load().endpoints {
		e.close()
	}
}
