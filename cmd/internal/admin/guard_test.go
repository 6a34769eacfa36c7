package admin_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
)

// From another machine there is health without a reason, and the rest is the guard's.
func TestGuarded(t *testing.T) {
	t.Parallel()
	server := newServer(func() error { return errors.New("a secret reason") })
	admin.List(server, "routes", nil, func(admin.Query) ([]int, string, error) { return []int{1}, "", nil })
	var still func() bool
	server.Pages(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		still = func() bool { return admin.Still(r.Context()) }
	}))
	allowed := true
	guard := func(r *http.Request) (int, string) {
		if allowed && r.URL.Path != "/metrics" {
			return http.StatusOK, ""
		}
		return http.StatusForbidden, "no"
	}
	for _, c := range []struct {
		guard        admin.Guard
		method, path string
		status       int
		body         string
	}{
		{guard, "GET", "/-/healthy", 200, "healthy\n"},
		{guard, "GET", "/-/ready", 503, "not ready\n"},
		{guard, "GET", "/api/v1/routes", 200, `{"data":[1]}` + "\n"},
		{guard, "GET", "/metrics", 403, "no\n"},
		{guard, "GET", "/", 200, ""},
		{guard, "POST", "/", 405, "only GET\n"},
		{admin.HealthOnly, "GET", "/-/healthy", 200, "healthy\n"},
		{admin.HealthOnly, "GET", "/-/ready", 503, "not ready\n"},
		{admin.HealthOnly, "GET", "/", 403, "only /-/healthy and /-/ready are served here: the rest is on a loopback address\n"},
		{admin.HealthOnly, "GET", "/metrics", 403, "only /-/healthy and /-/ready are served here: the rest is on a loopback address\n"},
	} {
		recorder := httptest.NewRecorder()
		server.Guarded(c.guard).ServeHTTP(recorder, httptest.NewRequest(c.method, "https://proxy.example.org"+c.path, nil))
		if recorder.Code != c.status || recorder.Body.String() != c.body {
			t.Errorf("%s %s: %d %q", c.method, c.path, recorder.Code, recorder.Body)
		}
	}
	// What lasts is asked about again.
	if !still() {
		t.Error("no longer allowed, and nothing has changed")
	}
	if allowed = false; still() {
		t.Error("still allowed")
	}
}

// What a page of another origin makes a browser ask is refused, but for a link to here;
// and every answer says what a browser may do with it.
func TestForeignPages(t *testing.T) {
	t.Parallel()
	server := newServer(func() error { return nil })
	for _, c := range []struct {
		site, mode, dest string
		status           int
	}{
		{"", "", "", 200},
		{"none", "navigate", "document", 200},
		{"same-origin", "cors", "empty", 200},
		{"cross-site", "navigate", "document", 200},
		{"cross-site", "navigate", "iframe", 403},
		{"cross-site", "no-cors", "image", 403},
		{"same-site", "cors", "empty", 403},
	} {
		request := httptest.NewRequest("GET", "http://localhost/-/ready", nil)
		for name, value := range map[string]string{"Site": c.site, "Mode": c.mode, "Dest": c.dest} {
			if value != "" {
				request.Header.Set("Sec-Fetch-"+name, value)
			}
		}
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, request)
		if recorder.Code != c.status {
			t.Errorf("%+v: %d", c, recorder.Code)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if got := recorder.Header().Get(name); !strings.Contains(got, want) {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
}

// Plain HTTP is served to this machine and to no other.
func TestRunRefusesOtherAddresses(t *testing.T) {
	t.Parallel()
	listener, err := admin.Listen(t.Context(), "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := newServer(nil).Run(t.Context(), listener); err == nil || !strings.Contains(err.Error(), "no loopback address") {
		t.Error(err)
	}
}
