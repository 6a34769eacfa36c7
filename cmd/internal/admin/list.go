package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
)

// apiPrefix begins the path of a list.
const apiPrefix = "/api/v1/"

// lists are what the JSON API serves, by name.
type lists struct {
	byName map[string]func() any
	// building keeps clients, however many, from having large lists made at once.
	building sync.Mutex
}

// List serves what the function returns, which must marshal as an array, as
// {"data": [...]} under /api/v1/NAME. It is called for each request, by one at a
// time. All lists are declared before Run.
func (s *Server) List(name string, list func() any) {
	if s.lists.byName == nil {
		s.lists.byName = make(map[string]func() any)
	}
	s.lists.byName[name] = list
}

// serve answers for a list of that path, if there is one.
func (l *lists) serve(w http.ResponseWriter, path string) bool {
	if len(path) <= len(apiPrefix) || path[:len(apiPrefix)] != apiPrefix {
		return false
	}
	list, ok := l.byName[path[len(apiPrefix):]]
	if !ok {
		return false
	}
	body, err := l.build(list)
	if err != nil {
		answer(w, http.StatusInternalServerError, "the list cannot be written as JSON")
		return true
	}
	head(w, http.StatusOK, "application/json")
	_, _ = w.Write(body)
	return true
}

func (l *lists) build(list func() any) ([]byte, error) {
	l.building.Lock()
	defer l.building.Unlock()
	var body bytes.Buffer
	err := json.NewEncoder(&body).Encode(struct {
		Data any `json:"data"`
	}{list()})
	return body.Bytes(), err
}
