package page

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"html/template"
	"net/http"
	"strings"
	"time"
)

const (
	// maxWatching is how many streams there may be at once.
	maxWatching = 16
	// share is how much of a core one who watches may cost, as a divisor: a view that
	// takes 40 ms is made every two seconds. But none waits for longer than a beat: a
	// view may have been slow because the machine was.
	share = 50
)

// Streams send views to those who watch. Nobody watching, nothing is made.
type Streams struct {
	places   chan struct{}
	making   chan struct{}
	interval time.Duration
	seed     maphash.Seed
}

// NewStreams sends changes at intervals of that length, or longer ones.
func NewStreams(interval time.Duration) *Streams {
	return &Streams{places: make(chan struct{}, maxWatching), making: make(chan struct{}, 1), interval: interval, seed: maphash.MakeSeed()}
}

// Watching tells whether a request asks for a stream.
func Watching(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Accept"), "text/event-stream")
}

// message is what has changed: parts and items of lists by their ids, and the order of
// lists.
type message struct {
	Parts map[string]template.HTML `json:"parts,omitempty"`
	Lists map[string][]string      `json:"lists,omitempty"`
	Items map[string]template.HTML `json:"items,omitempty"`
}

func (m message) empty() bool { return len(m.Parts)+len(m.Lists)+len(m.Items) == 0 }

// Serve sends a view, and then what changes of it, until its client has gone, may no
// longer see it, or the listener ends. An error is the view's.
func (s *Streams) Serve(w http.ResponseWriter, r *http.Request, view func() (View, error)) error {
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	default:
		w.Header().Set("Retry-After", "15")
		http.Error(w, fmt.Sprintf("%d pages are being watched, as many as may be", maxWatching), http.StatusServiceUnavailable)
		return nil
	}
	line := newLine(w, r)
	defer line.close()
	// The server's own deadline is for requests that end.
	if line.control.SetReadDeadline(time.Time{}) != nil {
		return nil
	}
	line.attend()
	sent := seen{seed: s.seed, parts: make(map[string]uint64), items: make(map[string]uint64), lists: make(map[string]uint64)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for first := true; ; first = false {
		select {
		case <-line.ctx.Done():
			return nil
		case <-timer.C:
		}
		now, cost, err := s.make(line.ctx, view)
		switch {
		case line.ctx.Err() != nil:
			return nil
		case err != nil:
			line.fail()
			return err
		}
		text := sent.message(now)
		if text == nil && first {
			text = beatEvent
		}
		if text != nil && line.send(text) != nil {
			return nil
		}
		timer.Reset(min(max(s.interval, share*cost), beat))
	}
}

// make has a view made, and says how long that took: one at a time, so that however many
// watch, and however slow it is, they have one core at most.
func (s *Streams) make(ctx context.Context, view func() (View, error)) (v View, cost time.Duration, err error) {
	select {
	case s.making <- struct{}{}:
		defer func() { <-s.making }()
	case <-ctx.Done():
		return View{}, 0, ctx.Err()
	}
	began := time.Now()
	v, err = view()
	return v, time.Since(began), err
}

// seen knows what a client has, by hashes.
type seen struct {
	seed                maphash.Seed
	parts, items, lists map[string]uint64
}

// message is the event for what the client does not have, nil where it has all.
func (s *seen) message(v View) []byte {
	m := message{Parts: make(map[string]template.HTML), Lists: make(map[string][]string), Items: make(map[string]template.HTML)}
	for id, html := range v.Parts {
		if s.changed(s.parts, id, string(html)) {
			m.Parts[id] = html
		}
	}
	there := make(map[string]bool)
	for name, items := range v.Lists {
		ids := make([]string, 0, len(items))
		for _, item := range items {
			ids = append(ids, item.ID)
			there[item.ID] = true
			if s.changed(s.items, item.ID, string(item.HTML)) {
				m.Items[item.ID] = item.HTML
			}
		}
		if s.changed(s.lists, name, strings.Join(ids, " ")) {
			m.Lists[name] = ids
		}
	}
	// What has left a list must be sent again when it comes back.
	for id := range s.items {
		if !there[id] {
			delete(s.items, id)
		}
	}
	if m.empty() {
		return nil
	}
	data, _ := json.Marshal(m) // no string fails
	return append(append([]byte("data: "), data...), "\n\n"...)
}

func (s *seen) changed(in map[string]uint64, id, text string) bool {
	sum := maphash.String(s.seed, text)
	before, ok := in[id]
	in[id] = sum
	return !ok || before != sum
}
