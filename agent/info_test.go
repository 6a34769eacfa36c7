package agent_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/testenv"
)

// An agent tells what each proxy said to each of its routes, how its targets were last,
// and why a proxy is not there.
func TestAgentTellsOfItself(t *testing.T) {
	t.Parallel()
	target := testenv.NewTarget(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	w := testenv.Start(t, testenv.Config{})
	a := w.Agent("team-a/node", testenv.Route("/team-a/node/sick", target.URL), testenv.Route("/team-a/node/down", "http://127.0.0.1:1/probe?token=secret"),
		testenv.Route("/team-b/x", target.URL))
	w.Scraper("prometheus").Get("/team-a/node/sick")
	w.Scraper("prometheus").Get("/team-a/node/down")
	proxies := a.Proxies()
	if len(proxies) != 1 {
		t.Fatalf("%+v", proxies)
	}
	p := proxies[0]
	if p.State != "ready" || p.Reason != "" || p.Accepted != 2 || p.Refused != 1 || p.Offered != 0 || p.ID != testenv.ID("proxy") ||
		p.Software != "testenv" || p.Session == "" || p.Connected == nil || p.NotAfter == nil || p.Since.IsZero() {
		t.Errorf("the proxy: %+v", p)
	}
	var told []string
	for _, r := range a.Routes() {
		line := r.Path + " " + r.Answers[0].State + " " + r.Answers[0].Code
		if strings.Contains(r.Target, "secret") {
			t.Errorf("%s: the target's query is told", r.Target)
		}
		if r.Last != nil {
			line += r.Last.Outcome + ": " + r.Last.Reason
		}
		if r.Answers[0].State == "refused" && (r.Answers[0].Decision == "" || r.Answers[0].Reasons == "" || r.Answers[0].Again == nil) {
			t.Errorf("a refusal without its reasons: %+v", r.Answers[0])
		}
		told = append(told, line)
	}
	want := "[/team-a/node/down accepted target_unreachable: connection refused" +
		" /team-a/node/sick accepted target_status: it answered with status 418 /team-b/x refused DENIED]"
	if got := fmt.Sprint(told); got != want {
		t.Errorf("the routes: %s", got)
	}
	a.Link.Close()
	testenv.Eventually(t, func() error {
		p := a.Proxies()[0]
		if p.State != "disconnected" || p.Session != "" || !strings.Contains(p.Reason, "connecting: ") || a.Routes()[0].Answers[0].State != "none" {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
}
