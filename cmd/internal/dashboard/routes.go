package dashboard

import (
	"html/template"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/page"
	"github.com/seed-951114d4/sallyport/proxy"
)

// pageSize is how many rows a page has.
const pageSize = 100

// The states of a row. A refused one is an offer that never became a route.
const (
	served  = "served"
	failing = "failing"
	gone    = "gone"
	refused = "refused"
)

// row is one route, however many sessions hold it, or one offer that was refused.
type row struct {
	ID, Path, Href string
	State          string
	Agent, Name    string // who: proved, and what it calls itself
	Others         int    // sessions besides
	Outcome        proxy.Outcome
	Last           *proxy.ScrapeInfo
	Since          time.Time // gone or refused
	Why            string    // of a refused one
	// Barred is how many scrapers the policy refused the route lately.
	Barred int
	Spark  template.HTML
}

// tab is a state to choose.
type tab struct {
	Href, Text, State string
	Count             int
	Here              bool
	More              bool // than is known
}

// filter is what a page of routes asks for.
type filter struct {
	State, Search, Outcome, After string
	Outcomes                      []proxy.OutcomeInfo
}

func (f filter) href(state, after string) string {
	values := url.Values{}
	for name, value := range map[string]string{"state": state, "q": f.Search, "outcome": f.Outcome, "after": after} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if len(values) == 0 {
		return "/"
	}
	return "/?" + values.Encode()
}

// found is how many there are, and the way to the others.
type found struct {
	Matching, All int
	More          bool // than is known
	Filtered      bool
	First, Next   string // links, "" for none
	// Cold: discovery does not answer yet. Begins is when it does; zero: nobody knows.
	Cold   bool
	Begins time.Time
}

// routes is the page that everybody sees first.
func (d *Dashboard) routes(query url.Values) (page.View, error) {
	f := filter{State: query.Get("state"), Search: strings.TrimSpace(query.Get("q")), Outcome: query.Get("outcome"), After: query.Get("after"), Outcomes: proxy.Outcomes()}
	if !slices.Contains([]string{served, failing, gone, refused}, f.State) {
		f.State = ""
	}
	offers, barred := d.standing()
	more := d.Proxy.ForgottenRefusals().Agents.Standing
	all := d.countAll()
	v := page.View{Title: "Routes", Here: "/", Body: "routes", Data: f}
	total := all.Served + all.Gone + len(offers)
	tabs := []tab{
		{f.href("", ""), "All", "", total, f.State == "", more},
		{f.href(served, ""), "Served", served, all.Served - all.Failing, f.State == served, false},
		{f.href(failing, ""), "Failing", failing, all.Failing, f.State == failing, false},
		{f.href(gone, ""), "Gone", gone, all.Gone, f.State == gone, false},
		{f.href(refused, ""), "Refused", refused, len(offers), f.State == refused, more},
	}
	if err := d.frame.Part(&v, "tabs", "tabs", tabs); err != nil {
		return v, err
	}
	rows, next, matching := d.rows(f, offers, barred)
	if err := d.frame.Add(&v, "rows", "", "", nil); err != nil {
		return v, err
	}
	for _, r := range rows {
		if err := d.frame.Add(&v, "rows", r.ID, "route-row", r); err != nil {
			return v, err
		}
	}
	begins, answers := d.Proxy.DiscoveryBegins()
	n := found{Cold: !answers, Begins: begins, Matching: matching, All: total, More: more, Filtered: f.State != "" || f.Search != "" || f.Outcome != ""}
	if f.After != "" {
		n.First = f.href(f.State, "")
	}
	if next != "" {
		n.Next = f.href(f.State, next)
	}
	if err := d.frame.Part(&v, "found", "found", n); err != nil {
		return v, err
	}
	return v, d.frame.Part(&v, "more", "more", n)
}

// asked is the state that the proxy is asked for: what fails is served, too, but here it
// is a state of its own.
func asked(state string) string {
	if state == served {
		return "well"
	}
	return state
}

// rows are those of a page, by path, and how many match in all.
func (d *Dashboard) rows(f filter, offers []proxy.RefusalInfo, barred map[string]int) (rows []row, next string, matching int) {
	offers = slices.DeleteFunc(slices.Clone(offers), func(r proxy.RefusalInfo) bool { return f.Outcome != "" || !mentions(r, f.Search) })
	if f.State == "" || f.State == refused {
		matching = len(offers)
	}
	if f.State != refused {
		q := proxy.RouteQuery{State: asked(f.State), Search: f.Search, Outcome: proxy.Outcome(f.Outcome), After: f.After, Limit: pageSize, Recent: true}
		n := d.Proxy.CountRoutes(q.All())
		matching += n.Served + n.Gone
		found := d.Proxy.Browse(q)
		for routes := found.Routes; len(routes) > 0; {
			same := 1
			for same < len(routes) && routes[same].Path == routes[0].Path {
				same++
			}
			r := routeRow(routes[:same])
			r.Barred = barred[r.Path]
			rows = append(rows, r)
			routes = routes[same:]
		}
		next = found.Next
	}
	if f.State == "" || f.State == refused {
		for _, offer := range offers {
			if offer.Route > f.After && (next == "" || offer.Route <= next) {
				rows = append(rows, offerRow(offer))
			}
		}
		slices.SortStableFunc(rows, func(a, b row) int { return strings.Compare(a.Path, b.Path) })
	}
	return rows, next, matching
}

// standing are the offers that are refused now, by path, and how many scrapers the policy
// refused each route lately.
func (d *Dashboard) standing() (offers []proxy.RefusalInfo, barred map[string]int) {
	barred = make(map[string]int)
	for _, r := range d.Proxy.Refusals() {
		switch {
		case !r.Standing:
		case r.Action == "register":
			offers = append(offers, r)
		case r.Action == "scrape" && denied(r):
			barred[r.Route]++
		}
	}
	slices.SortStableFunc(offers, func(a, b proxy.RefusalInfo) int { return strings.Compare(a.Route, b.Route) })
	return offers, barred
}

// denied tells whether the policy refused it, and not the proxy itself.
func denied(r proxy.RefusalInfo) bool { return r.Effect == "denied" || r.Effect == "revoked" }

func mentions(r proxy.RefusalInfo, search string) bool {
	search = strings.ToLower(search)
	return strings.Contains(strings.ToLower(r.Route), search) || strings.Contains(strings.ToLower(r.Identity), search)
}

// routeRow is that of a route with these sessions, or with none.
func routeRow(infos []proxy.RouteInfo) row {
	info := infos[len(infos)-1] // the newest
	r := row{
		ID: page.ID("r", info.Path), Path: info.Path, Href: routeHref(info.Path), State: info.State,
		Agent: info.Owner, Name: info.Name, Others: len(infos) - 1, Outcome: info.Last, Spark: spark(info.Recent, small),
	}
	if info.Agent != nil {
		r.Name = info.Agent.Name
	}
	if info.GoneSince != nil {
		r.Since = *info.GoneSince
	}
	// Later ones may tell nothing of the route.
	if i := slices.IndexFunc(info.Recent, func(s proxy.ScrapeInfo) bool { return s.Outcome == r.Outcome }); i >= 0 {
		r.Last = &info.Recent[i]
	}
	if r.State == served && r.Outcome != "" && r.Outcome != proxy.OK {
		r.State = failing
	}
	return r
}

func offerRow(r proxy.RefusalInfo) row {
	return row{
		ID: page.ID("o", r.Identity+" "+r.Route), Path: r.Route, Href: routeHref(r.Route), State: refused, Agent: r.Identity,
		Since: r.First, Why: why(r),
	}
}

func routeHref(path string) string { return "/route?" + url.Values{"path": {path}}.Encode() }

// why is one line on why something was refused.
func why(r proxy.RefusalInfo) string {
	switch {
	case r.Why != "":
		return r.Why
	case len(r.Reasons) > 0:
		return strings.Join(r.Reasons, "; ")
	case r.Fault != "":
		return "the policy failed: " + r.Fault
	}
	return "the policy does not allow it, and gives no reason"
}
