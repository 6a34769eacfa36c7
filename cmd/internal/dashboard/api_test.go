package dashboard_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/proxy"
)

// A list that has pages takes a cursor of its own and no other; one that has none says so
// and drops nothing.
func TestListsTakeTheirOwnCursors(t *testing.T) {
	t.Parallel()
	f := &fake{sessions: make([]proxy.SessionInfo, 3)}
	for i := range 384 {
		f.refusals = append(f.refusals, proxy.RefusalInfo{Action: "register", Identity: fmt.Sprint("agent ", i%2), Route: fmt.Sprint("/", i)})
	}
	server := newServer(t, f, authz.Status{}, nil)
	for _, c := range []struct {
		path         string
		status, size int
	}{
		{"refusals", 200, 384}, {"refusals?owner=agent+1", 200, 192}, {"refusals?route=/7", 200, 1},
		{"refusals?limit=10", 400, 0}, {"refusals?after=nonsense", 400, 0},
		{"handshakes", 200, 1}, {"handshakes?limit=1", 400, 0}, {"policy", 200, 1}, {"policy?after=1", 400, 0},
		{"sessions?limit=2", 200, 2}, {"sessions?after=2", 200, 1}, {"sessions?after=nonsense", 400, 0}, {"sessions?after=-1", 400, 0},
		{"routes?after=/a", 200, 0}, {"routes?after=!", 400, 0}, {"scrapes?after=nonsense", 400, 0},
	} {
		status, body, _ := get(t, server, "/api/v1/"+c.path)
		var list struct{ Data []json.RawMessage }
		if status == http.StatusOK && json.Unmarshal([]byte(body), &list) != nil || status != c.status || len(list.Data) != c.size {
			t.Errorf("%s: %d, %d elements, %.80s", c.path, status, len(list.Data), body)
		}
	}
}
