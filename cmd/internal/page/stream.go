package page

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
)

const (
	// maxWatching is how many streams there may be at once.
	maxWatching = 16
	// beat is how long nothing is sent at most: by then a client that has gone is
	// noticed.
	beat = 15 * time.Second
	// sendTimeout is how long a client may take to read one message.
	sendTimeout = 10 * time.Second
	// share is how much of a core one who watches may cost at most, as a divisor: a
	// view that takes 40 ms is made every two seconds.
	share = 50
)

// Streams send views to those who watch. Nobody watching, nothing is made.
type Streams struct {
	places   chan struct{}
	interval time.Duration
	seed     maphash.Seed
}

// NewStreams sends changes at intervals of that length, or longer ones.
func NewStreams(interval time.Duration) *Streams {
	return &Streams{places: make(chan struct{}, maxWatching), interval: interval, seed: maphash.MakeSeed()}
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
// longer see it, or the listener ends.
func (s *Streams) Serve(w http.ResponseWriter, r *http.Request, view func() (View, error)) {
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	default:
		w.Header().Set("Retry-After", "15")
		http.Error(w, fmt.Sprintf("%d pages are being watched, as many as may be", maxWatching), http.StatusServiceUnavailable)
		return
	}
	control := http.NewResponseController(w)
	// The server's own deadline is for requests that end.
	if control.SetReadDeadline(time.Time{}) != nil {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	sent := seen{seed: s.seed, parts: make(map[string]uint64), items: make(map[string]uint64), lists: make(map[string]uint64)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := time.Now()
	for first := true; ; first = false {
		select {
		case <-r.Context().Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		if !first && !admin.Still(r.Context()) {
			return
		}
		now, err := view()
		cost := time.Since(began)
		if err != nil {
			return
		}
		text, news := sent.message(now)
		if news || first || began.Sub(last) > beat {
			last = began
			_ = control.SetWriteDeadline(began.Add(sendTimeout))
			if _, err := w.Write(text); err != nil || control.Flush() != nil {
				return
			}
		}
		timer.Reset(max(s.interval, share*cost))
	}
}

// seen knows what a client has, by hashes.
type seen struct {
	seed                maphash.Seed
	parts, items, lists map[string]uint64
}

// message is the event for what the client does not have; without news it is a comment.
func (s *seen) message(v View) (text []byte, news bool) {
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
		return []byte(": nothing new\n\n"), false
	}
	data, err := json.Marshal(m)
	if err != nil {
		return []byte(": nothing that can be said\n\n"), false
	}
	return append(append([]byte("data: "), data...), "\n\n"...), true
}

func (s *seen) changed(in map[string]uint64, id, text string) bool {
	sum := maphash.String(s.seed, text)
	before, ok := in[id]
	in[id] = sum
	return !ok || before != sum
}
