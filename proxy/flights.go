package proxy

import "sync"

// flights counts the scrapes in flight, so that a stop can wait for them.
type flights struct {
	mu      sync.Mutex
	count   int
	closing bool
	none    chan struct{}
}

func newFlights() *flights { return &flights{none: make(chan struct{})} }

// enter counts a scrape in; false once close has been called.
func (f *flights) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return false
	}
	f.count++
	return true
}

func (f *flights) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count--
	if f.closing && f.count == 0 {
		close(f.none)
	}
}

// close lets no scrape in any more. The channel is closed when the last has left.
func (f *flights) close() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closing {
		f.closing = true
		if f.count == 0 {
			close(f.none)
		}
	}
	return f.none
}

func (f *flights) closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closing
}
