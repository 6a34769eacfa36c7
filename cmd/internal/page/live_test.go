package page_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-951114d4/sallyport/cmd/internal/page"
	"github.com/seed-951114d4/sallyport/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A page says live for as long as it hears something, be it only that there is nothing
// new. After that it says since when not, and tries again and again.
func TestLive(t *testing.T) {
	t.Parallel()
	browser := testenv.NewChromium(t)
	frame, err := page.NewFrame("proxy", "test", nil, fstest.MapFS{"body.html": {Data: []byte(`{{define "body"}}{{end}}`)}})
	if err != nil {
		t.Fatal(err)
	}
	var streams, beats atomic.Int32
	var silent, well atomic.Bool
	stop := make(chan struct{})
	stream := func(w http.ResponseWriter, r *http.Request) {
		n := streams.Add(1)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-r.Context().Done():
				return
			case <-ticker.C:
			}
			if n == 1 && !silent.Load() || well.Load() {
				fmt.Fprint(w, "event: beat\ndata:\n\n")
				_ = http.NewResponseController(w).Flush()
				beats.Add(1)
			}
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if page.Asset(w, r.URL.Path) {
			return
		}
		if page.Watching(r) {
			w.Header().Set("Content-Type", "text/event-stream")
			stream(w, r)
			return
		}
		recorder := httptest.NewRecorder()
		if err := frame.Write(recorder, page.View{Title: "Test", Body: "body"}); err != nil {
			t.Error(err)
		}
		html := strings.Replace(recorder.Body.String(), `data-beat="15000"`, `data-beat="800"`, 1)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(html))
	}))
	defer server.Close()
	defer close(stop)
	tab := browser.Page(800, 600, false)
	tab.Go(server.URL + "/")
	says := func(text string) {
		t.Helper()
		tab.Await(fmt.Sprintf(`document.getElementById("live-text").textContent.startsWith(%q)`, text))
	}
	says("live")
	// Longer than the patience of two seconds.
	testenv.Eventually(t, func() error {
		if n := beats.Load(); n < 25 {
			return fmt.Errorf("%d beats", n)
		}
		return nil
	})
	if n := streams.Load(); n != 1 {
		t.Errorf("%d streams, though there are beats", n)
	}
	says("live")
	silent.Store(true)
	says("lost since ")
	testenv.Eventually(t, func() error {
		if n := streams.Load(); n < 3 {
			return fmt.Errorf("%d streams", n)
		}
		return nil
	})
	says("lost since ")
	well.Store(true)
	says("live")
}
