package dashboard

import (
	"net/url"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/page"
	"github.com/seed-951114d4/sallyport/proxy"
)

// agentRow is one session.
type agentRow struct {
	proxy.SessionInfo
	Row, Href string
	// Left is how much of the certificate's life is left, in hundredths; Short: less
	// than a third, by when it should have been renewed.
	Left  int
	Short bool
}

func newAgentRow(s proxy.SessionInfo, now time.Time) agentRow {
	r := agentRow{
		SessionInfo: s, Row: page.ID("s", s.ID), Left: 100,
		Href: "/?" + url.Values{"q": {s.Agent.ID}}.Encode(),
	}
	if life := s.Agent.NotAfter.Sub(s.NotBefore); life > 0 {
		r.Left = int(max(0, min(100, 100*s.Agent.NotAfter.Sub(now)/life)))
		r.Short = 3*s.Agent.NotAfter.Sub(now) < life
	}
	return r
}

// agents is the page of the sessions and their certificates.
func (d *Dashboard) agents(query url.Values) (page.View, error) {
	f := filter{Search: strings.TrimSpace(query.Get("q")), After: query.Get("after")}
	v := page.View{Title: "Agents", Here: "/agents", Body: "agents", Data: f}
	q := proxy.SessionQuery{Search: f.Search, After: f.After, Limit: pageSize}
	if q.Validate() != nil {
		q.After, f.After = "", ""
	}
	sessions, next := d.Proxy.BrowseSessions(q)
	if err := d.frame.Add(&v, "rows", "", "", nil); err != nil {
		return v, err
	}
	now := time.Now()
	for _, s := range sessions {
		r := newAgentRow(s, now)
		if err := d.frame.Add(&v, "rows", r.Row, "agent-row", r); err != nil {
			return v, err
		}
	}
	href := func(after string) string {
		values := url.Values{}
		if f.Search != "" {
			values.Set("q", f.Search)
		}
		if after != "" {
			values.Set("after", after)
		}
		return "/agents?" + values.Encode()
	}
	n := found{Matching: len(sessions), Filtered: f.Search != ""}
	if f.After != "" {
		n.First = href("")
	}
	if next != "" {
		n.Next = href(next)
	}
	if err := d.frame.Part(&v, "found", "agents-found", n); err != nil {
		return v, err
	}
	return v, d.frame.Part(&v, "more", "more", n)
}
