package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/style"
)

const (
	// apiPrefix begins the path of a list.
	apiPrefix = "/api/v1/"
	// MaxLimit is the largest limit that a request may ask for.
	MaxLimit = 5000
	// piece is how much of a list is made before it is sent, where all of it is
	// asked for.
	piece = 500
	// maxMaking is how many pieces are made at once, for however many clients.
	maxMaking = 2
)

// Query is what a request asks of a list.
type Query struct {
	// Limit is how many at most; what is left has a cursor.
	Limit int
	// After is the cursor behind which to go on; "" is the beginning.
	After  string
	params url.Values
}

// Get returns the value of a filter, "" where it is not asked for.
func (q Query) Get(name string) string { return q.params.Get(name) }

// lists are what the JSON API serves, by name.
type lists struct {
	byName map[string]*list
	making chan struct{}
}

type list struct {
	filters []string
	// page adds a piece as the elements of an array to out.
	page func(q Query, out *bytes.Buffer) (n int, next string, err error)
}

// List serves a list as {"data": [...]} under /api/v1/NAME: all of it, or with limit a
// page of it and the cursor "next" for the one after. Page returns at most q.Limit
// elements or a few more, and the cursor for those that are left, "" if there are none;
// an error says what is wrong with a filter. All lists are declared before Run.
func List[T any](s *Server, name string, filters []string, page func(q Query) (data []T, next string, err error)) {
	s.lists.byName[name] = &list{filters: filters, page: func(q Query, out *bytes.Buffer) (int, string, error) {
		data, next, err := page(q)
		if err != nil {
			return 0, "", err
		}
		for i := range data {
			if i > 0 {
				out.WriteByte(',')
			}
			element, err := json.Marshal(&data[i])
			if err != nil {
				return 0, "", errUnwritable
			}
			style.WriteJSON(out, element)
		}
		return len(data), next, nil
	}}
}

// ListWhole serves a list that has no pages: it is short, or its order moves while it is
// read.
func ListWhole[T any](s *Server, name string, filters []string, all func(q Query) []T) {
	List(s, name, filters, func(q Query) ([]T, string, error) {
		if q.Get("limit") != "" || q.Get("after") != "" {
			return nil, "", errors.New("this list comes whole: it takes neither limit nor after")
		}
		return all(q), "", nil
	})
}

var errUnwritable = errors.New("the list cannot be written as JSON")

// serve answers for a list of that path, if there is one.
func (l *lists) serve(w http.ResponseWriter, r *http.Request) bool {
	name, ok := strings.CutPrefix(r.URL.Path, apiPrefix)
	list := l.byName[name]
	if !ok || list == nil {
		return false
	}
	q, all, err := list.parse(r.URL.RawQuery)
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error())
		return true
	}
	l.send(w, r, list, q, all)
	return true
}

// send writes a list piece by piece, so that a fleet's costs no more memory than a
// team's. One that breaks off in the middle breaks the connection.
func (l *lists) send(w http.ResponseWriter, r *http.Request, list *list, q Query, all bool) {
	control := http.NewResponseController(w)
	out := bytes.NewBufferString(`{"data":[`)
	some := false
	for sent := false; ; sent = true {
		before := out.Len()
		if some {
			out.WriteByte(',')
		}
		n, next, err := l.make(list, q, out)
		switch {
		case err != nil && sent:
			panic(http.ErrAbortHandler)
		case errors.Is(err, errUnwritable):
			answer(w, http.StatusInternalServerError, err.Error())
			return
		case err != nil:
			answer(w, http.StatusBadRequest, err.Error())
			return
		case n == 0:
			out.Truncate(before)
		}
		some = some || n > 0
		if !all || next == "" {
			end(out, next)
		}
		if !sent {
			head(w, http.StatusOK, "application/json")
		}
		// What moves may take as long as it likes.
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := w.Write(out.Bytes()); err != nil || !all || next == "" {
			return
		}
		if r.Context().Err() != nil || !Still(r.Context()) {
			panic(http.ErrAbortHandler)
		}
		out.Reset()
		q.After = next
	}
}

func (l *lists) make(list *list, q Query, out *bytes.Buffer) (n int, next string, err error) {
	l.making <- struct{}{}
	defer func() { <-l.making }()
	return list.page(q, out)
}

func end(out *bytes.Buffer, next string) {
	out.WriteByte(']')
	if next != "" {
		cursor, _ := json.Marshal(next) // no string fails
		out.WriteString(`,"next":`)
		style.WriteJSON(out, cursor)
	}
	out.WriteString("}\n")
}

// parse reads the parameters, none of which may be unknown or be there twice: what is
// misspelt would be a list of something else.
func (l *list) parse(raw string) (q Query, all bool, err error) {
	params, err := url.ParseQuery(raw)
	if err != nil {
		return Query{}, false, errors.New("the query is malformed")
	}
	known := slices.Concat([]string{"limit", "after"}, l.filters)
	for name, values := range params {
		switch {
		case !slices.Contains(known, name):
			return Query{}, false, fmt.Errorf("there is no parameter %.64q, only %s", name, strings.Join(known, ", "))
		case len(values) > 1:
			return Query{}, false, fmt.Errorf("the parameter %s is there more than once", name)
		}
	}
	q = Query{Limit: piece, After: params.Get("after"), params: params}
	if !params.Has("limit") {
		return q, true, nil
	}
	q.Limit, err = strconv.Atoi(params.Get("limit"))
	if err != nil || q.Limit < 1 || q.Limit > MaxLimit {
		return Query{}, false, fmt.Errorf("the limit is no number from 1 to %d", MaxLimit)
	}
	return q, false, nil
}
