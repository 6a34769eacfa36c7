package admin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
)

// numbers is a list of that many.
func numbers(n int) func(admin.Query) ([]int, string, error) {
	return func(q admin.Query) (data []int, next string, err error) {
		after, _ := strconv.Atoi(q.After)
		if q.Get("only") == "nonsense" {
			return nil, "", errors.New("only is odd or even")
		}
		for i := after + 1; i <= n; i++ {
			if len(data) == q.Limit {
				return data, strconv.Itoa(i - 1), nil
			}
			if q.Get("only") == "" || (q.Get("only") == "odd") == (i%2 == 1) {
				data = append(data, i)
			}
		}
		return data, "", nil
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	server := newServer(nil)
	one := func(data ...map[string]string) func(admin.Query) ([]map[string]string, string, error) {
		return func(admin.Query) ([]map[string]string, string, error) { return data, "", nil }
	}
	admin.List(server, "routes", []string{"q"}, one(map[string]string{"path": "/a<b"}))
	admin.List(server, "sessions", nil, one())
	admin.List(server, "broken", nil, func(admin.Query) ([]any, string, error) { return []any{make(chan int)}, "", nil })
	admin.List(server, "numbers", []string{"only"}, numbers(1234))
	for _, c := range []struct {
		method, host, path string
		status             int
		contentType, body  string
	}{
		{"GET", "localhost", "/api/v1/routes", 200, "application/json", `{"data":[{"path":"/a\u003cb"}]}` + "\n"},
		{"GET", "localhost", "/api/v1/sessions", 200, "application/json", `{"data":[]}` + "\n"},
		{"GET", "localhost", "/api/v1/numbers?limit=2", 200, "application/json", `{"data":[1,2],"next":"2"}` + "\n"},
		{"GET", "localhost", "/api/v1/numbers?limit=2&after=2&only=even", 200, "application/json", `{"data":[4,6],"next":"6"}` + "\n"},
		{"GET", "localhost", "/api/v1/numbers?limit=2&after=1234", 200, "application/json", `{"data":[]}` + "\n"},
		{"GET", "localhost", "/api/v1/numbers?limit=0", 400, "text/plain; charset=utf-8", "the limit is no number from 1 to 5000\n"},
		{"GET", "localhost", "/api/v1/numbers?limit=5001", 400, "text/plain; charset=utf-8", "the limit is no number from 1 to 5000\n"},
		{"GET", "localhost", "/api/v1/numbers?Limit=1", 400, "text/plain; charset=utf-8", "there is no parameter \"Limit\", only limit, after, only\n"},
		{"GET", "localhost", "/api/v1/numbers?only=odd&only=even", 400, "text/plain; charset=utf-8", "the parameter only is there more than once\n"},
		{"GET", "localhost", "/api/v1/numbers?only=nonsense", 400, "text/plain; charset=utf-8", "only is odd or even\n"},
		{"GET", "localhost", "/api/v1/broken", 500, "text/plain; charset=utf-8", "the list cannot be written as JSON\n"},
		{"GET", "localhost", "/api/v1/", 404, "text/plain; charset=utf-8", "not found\n"},
		{"GET", "localhost", "/api/v1/routes/", 404, "text/plain; charset=utf-8", "not found\n"},
		{"GET", "localhost", "/api/v2/routes", 404, "text/plain; charset=utf-8", "not found\n"},
		{"POST", "localhost", "/api/v1/routes", 405, "text/plain; charset=utf-8", "only GET\n"},
		{"GET", "evil.example.org", "/api/v1/routes", 403, "text/plain; charset=utf-8", "the Host header does not name this machine\n"},
	} {
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, httptest.NewRequest(c.method, "http://"+c.host+c.path, nil))
		header := recorder.Result().Header
		if recorder.Code != c.status || recorder.Body.String() != c.body || header.Get("Content-Type") != c.contentType {
			t.Errorf("%s %s: got %d %s %q", c.method, c.path, recorder.Code, header.Get("Content-Type"), recorder.Body)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: header %v", c.method, c.path, header)
		}
	}
}

// A list is read on terminals too: what an agent chose is only text there, and the same
// for a program.
func TestListsArePlain(t *testing.T) {
	t.Parallel()
	const name = "a\u009b2J\u202e\x7f\u3164é"
	server := newServer(nil)
	admin.List(server, "sessions", nil, func(admin.Query) ([]map[string]string, string, error) {
		return []map[string]string{{"name": name}}, name, nil
	})
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, httptest.NewRequest("GET", "http://localhost/api/v1/sessions?limit=1", nil))
	body := recorder.Body.String()
	if strings.ContainsAny(body, "\u009b\u202e\x7f\u3164") {
		t.Errorf("%+q", body)
	}
	var answer struct {
		Data []map[string]string
		Next string
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Data[0]["name"] != name || answer.Next != name {
		t.Errorf("%v: %+v", err, answer)
	}
}

// BenchmarkList is all of a list as large as that of a fleet's routes.
func BenchmarkList(b *testing.B) {
	type row struct {
		Path   string            `json:"path"`
		Owner  string            `json:"owner"`
		Labels map[string]string `json:"labels"`
		Since  time.Time         `json:"since"`
		Scrape float64           `json:"scrape_seconds"`
	}
	rows := make([]row, 500)
	for i := range rows {
		rows[i] = row{
			Path: fmt.Sprintf("/team-%03d/node-%04d/exporter", i%97, i), Owner: fmt.Sprintf("spiffe://example.org/team-%03d/node-%04d", i%97, i),
			Labels: map[string]string{"env": "prod", "site": "Zürich"}, Since: time.Unix(1_700_000_000, 0).UTC(), Scrape: 0.0123,
		}
	}
	server := newServer(nil)
	admin.List(server, "routes", nil, func(q admin.Query) ([]row, string, error) {
		if n, _ := strconv.Atoi(q.After); n < 200_000-len(rows) {
			return rows, strconv.Itoa(n + len(rows)), nil
		}
		return rows, "", nil
	})
	request := httptest.NewRequest("GET", "http://localhost/api/v1/routes", nil)
	for b.Loop() {
		server.ServeHTTP(&discard{header: make(http.Header)}, request)
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// All of a list comes in pieces and is one list; paged, it is the same.
func TestListsInPieces(t *testing.T) {
	t.Parallel()
	server := newServer(nil)
	admin.List(server, "numbers", nil, numbers(1234))
	type answer struct {
		Data []int
		Next string
	}
	get := func(query string) (a answer) {
		t.Helper()
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, httptest.NewRequest("GET", "http://localhost/api/v1/numbers"+query, nil))
		if err := json.Unmarshal(recorder.Body.Bytes(), &a); err != nil || recorder.Code != 200 {
			t.Fatalf("%d, %v in %s", recorder.Code, err, recorder.Body)
		}
		return a
	}
	all := get("")
	var paged []int
	for page := get("?limit=100"); ; page = get("?limit=100&after=" + page.Next) {
		paged = append(paged, page.Data...)
		if page.Next == "" {
			break
		}
	}
	if len(all.Data) != 1234 || all.Next != "" || !slices.Equal(all.Data, paged) {
		t.Error(fmt.Sprint(len(all.Data), " and ", len(paged)))
	}
}
