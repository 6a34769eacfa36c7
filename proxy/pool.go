package proxy

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Why no lane could be borrowed.
var (
	errPoolBusy    = errors.New("too many scrapes wait for a lane of this session")
	errPoolRetired = errors.New("the session takes no more scrapes")
)

// spareLanes is how many lanes beyond those wanted are taken in: what an agent
// opens crosses what the proxy wants.
const spareLanes = 3

// idleLanes is how many idle lanes of a session are kept however long they idle.
const idleLanes = 2

// pool lends a session's lanes, as database/sql lends connections: borrow, then
// giveBack or drop. Who finds none idle waits in order. The zero value is not
// ready; see newPool.
type pool struct {
	// want asks the agent to hold that many lanes open in all. It must not block.
	want func(total int)
	max  int

	mu      sync.Mutex
	idle    []*lane // the last one was used last
	waiting list.List
	lent    map[*lane]struct{}
	wanted  int
	// retired: what is lent comes back to be closed, nothing is lent any more.
	retired bool
}

func newPool(limit int, want func(total int)) *pool {
	return &pool{want: want, max: limit, lent: make(map[*lane]struct{})}
}

// add takes in a lane that the agent opened; false: there are as many as may be.
func (p *pool) add(l *lane) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A lane that nobody wants holds what its agent sends unasked.
	if p.retired || len(p.idle)+len(p.lent) >= min(p.max, max(p.wanted, 1)+spareLanes) {
		return false
	}
	p.putLocked(l)
	return true
}

// take lends a lane that is idle, nil if there is none.
func (p *pool) take() *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeLocked()
}

func (p *pool) takeLocked() *lane {
	n := len(p.idle)
	if n == 0 || p.retired {
		return nil
	}
	l := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	p.lent[l] = struct{}{}
	return l
}

// borrow lends a lane, waiting for one until ctx ends.
func (p *pool) borrow(ctx context.Context) (*lane, error) {
	p.mu.Lock()
	if p.retired {
		p.mu.Unlock()
		return nil, errPoolRetired
	}
	if l := p.takeLocked(); l != nil {
		p.mu.Unlock()
		return l, nil
	}
	if p.waiting.Len() >= maxWaiting {
		p.mu.Unlock()
		return nil, errPoolBusy
	}
	turn := make(chan *lane, 1)
	place := p.waiting.PushBack(turn)
	p.askLocked()
	p.mu.Unlock()

	select {
	case l, ok := <-turn:
		if !ok {
			return nil, errPoolRetired
		}
		return l, nil
	case <-ctx.Done():
		p.leave(place, turn)
		return nil, context.Cause(ctx)
	}
}

// leave gives up a place in the queue, and the lane if it had just come.
func (p *pool) leave(place *list.Element, turn chan *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting.Remove(place)
	select {
	case l, ok := <-turn:
		if ok {
			delete(p.lent, l)
			p.putLocked(l)
		}
	default:
	}
}

// giveBack returns a lane whose scrape has ended with the agent's End.
func (p *pool) giveBack(l *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.lent[l]; !ok {
		return
	}
	delete(p.lent, l)
	p.putLocked(l)
}

// putLocked hands l to who waits longest, or keeps it.
func (p *pool) putLocked(l *lane) {
	if p.retired {
		l.close()
		return
	}
	if first := p.waiting.Front(); first != nil {
		p.waiting.Remove(first)
		p.lent[l] = struct{}{}
		first.Value.(chan *lane) <- l
		return
	}
	l.idleSince = time.Now()
	p.idle = append(p.idle, l)
}

// drop forgets a lane that has ended, idle or lent, and closes it.
func (p *pool) drop(l *lane) {
	l.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.lent, l)
	for i, other := range p.idle {
		if other == l {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			break
		}
	}
	p.askLocked()
}

// askLocked wants a lane for every scrape that is under way or waits, and at
// least one.
func (p *pool) askLocked() {
	if p.retired {
		return
	}
	total := min(max(len(p.lent)+p.waiting.Len(), 1), p.max)
	if total > p.wanted || len(p.lent)+len(p.idle) < min(p.wanted, total) {
		p.wanted = max(p.wanted, total)
		p.want(p.wanted)
	}
}

// trim closes lanes beyond a few that have not been used since before.
func (p *pool) trim(before time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.idle)-idleLanes && p.idle[n].idleSince.Before(before) {
		n++
	}
	if n == 0 {
		return
	}
	closing := p.idle[:n]
	p.idle = append(p.idle[:0:0], p.idle[n:]...)
	// The agent hears first that it need not open them again.
	p.wanted = max(len(p.idle)+len(p.lent), 1)
	p.want(p.wanted)
	for _, l := range closing {
		l.close()
	}
}

// load is how many scrapes are under way or wait.
func (p *pool) load() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lent) + p.waiting.Len()
}

// size is how many lanes are idle and how many lent.
func (p *pool) size() (idle, lent int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle), len(p.lent)
}

// laneUse is how much lanes are used.
type laneUse struct {
	idle, lent int
	waiting    int // scrapes that wait for one
	wanted     int // lanes that the agent was asked to hold open
}

func (u laneUse) plus(other laneUse) laneUse {
	return laneUse{u.idle + other.idle, u.lent + other.lent, u.waiting + other.waiting, u.wanted + other.wanted}
}

func (p *pool) use() laneUse {
	p.mu.Lock()
	defer p.mu.Unlock()
	return laneUse{idle: len(p.idle), lent: len(p.lent), waiting: p.waiting.Len(), wanted: p.wanted}
}

// shortage is why no lane came, and what to do about it. All that there may be are in use,
// or the agent has not opened those that it was asked for, as one that is stopped does not.
func (p *pool) shortage() (text, hint string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch held := len(p.idle) + len(p.lent); {
	case len(p.lent) >= p.max:
		return fmt.Sprintf("no lane came free: all lanes that the agent allows are in use: %d", p.max),
			"raise SALLYPORT_MAX_CONCURRENT_SCRAPES of the agent, scrape less at once, or see which of its targets are slow"
	case held < p.wanted:
		return fmt.Sprintf("no lane came, for the agent does not answer: it holds %d of %d that it was asked for", held, p.wanted),
			"see whether the agent is stopped, or its machine or the network to it overloaded: its status page and its log are there"
	}
	return "no lane came free in time", hints[Busy] // one did right then
}

// retire lends no lane any more: waiters are turned away, idle lanes closed, and
// lent ones when they come back.
func (p *pool) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = true
	for _, l := range p.idle {
		l.close()
	}
	p.idle = nil
	for first := p.waiting.Front(); first != nil; first = p.waiting.Front() {
		close(p.waiting.Remove(first).(chan *lane))
	}
}

// close retires the pool and ends the scrapes under way.
func (p *pool) close() {
	p.retire()
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.lent {
		l.close()
	}
}
