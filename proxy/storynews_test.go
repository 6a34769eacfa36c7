package proxy

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A route whose scrapes fail every second time fills no log, and what it does at last is
// told.
func TestStoryIsNewsSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &route{path: "/a"}
		var told []string
		began := time.Now()
		scrape := func(outcome Outcome) {
			if r.remember(ended{began: time.Now(), outcome: outcome, given: time.Minute}) {
				told = append(told, fmt.Sprintf("%v %s", time.Since(began), outcome))
			}
			time.Sleep(10 * time.Second)
		}
		for range 7 {
			scrape(OK)
			scrape(TargetStatus)
		}
		scrape(OK)
		scrape(BadRequest)
		for range 6 {
			scrape(TargetStatus)
		}
		want := "10s target_status, 20s ok, 1m10s target_status, 1m20s ok, 2m10s target_status, 2m20s ok, 3m10s target_status"
		if got := strings.Join(told, ", "); got != want {
			t.Errorf("told:\n%s\nwant:\n%s", got, want)
		}
	})
}
