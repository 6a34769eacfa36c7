package proxy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// The first that discovery turns away because the proxy has just started is told of, once,
// and until when that lasts.
func TestWarmUpIsToldOnce(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Proxy: func(c *proxy.Config) { c.Warmup = time.Hour }})
	begun := func(w *testenv.World, want bool) {
		t.Helper()
		testenv.Eventually(t, func() error {
			if at, answers := w.Proxy.DiscoveryBegins(); answers != want || at.IsZero() || time.Until(at) > 59*time.Minute == want {
				return fmt.Errorf("it begins at %s: %v", at, answers)
			}
			return nil
		})
	}
	begun(w, false)
	for range 3 {
		if a := w.Scraper("prometheus").Get(discovery); a.Status != 503 {
			t.Fatalf("%+v", a)
		}
	}
	n := 0
	for line := range strings.Lines(w.Logs.String()) {
		if strings.Contains(line, `msg="discovery does not answer yet: agents are coming back"`) {
			n++
			if !strings.Contains(line, "level=INFO") || !strings.Contains(line, "begins_in=59m") && !strings.Contains(line, "begins_in=1h0m0s") || !strings.Contains(line, "hint=") {
				t.Error(line)
			}
		}
	}
	if n != 1 {
		t.Errorf("%d lines", n)
	}
	begun(listing(t), true)
}
