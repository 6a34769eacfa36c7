package dashboard

import (
	"net/url"
	"slices"

	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/page"
	"github.com/seed-951114d4/sallyport/proxy"
)

// refusal is one as it is shown.
type refusal struct {
	proxy.RefusalInfo
	ID, Href, What string
	Whys           []string
	// Command makes the decision again. Where its input is too long for a page, Long leads
	// to the list that has it.
	Command, Long string
}

// maxShownInput is the longest input that a page holds, in bytes. What agents may claim is
// longer, and there may be hundreds of them on a page that is sent again and again.
const maxShownInput = 4 << 10

// whats say what was asked for.
var whats = map[string]string{
	"session": "a session", "register": "to serve", "scrape": "to scrape", "admin": "to see",
}

func newRefusal(r proxy.RefusalInfo, policy authz.Status) refusal {
	shown := refusal{RefusalInfo: r, ID: page.ID("x", r.Action+" "+r.Identity+" "+r.Route), What: whats[r.Action], Whys: r.Reasons}
	if r.Why != "" || r.Fault != "" || len(r.Reasons) == 0 {
		shown.Whys = []string{why(r)}
	}
	switch {
	case r.Action == "scrape" && r.Route == proxy.DiscoveryPath: // which is no route
		shown.What = "to find any route at"
	case r.Route != "" && r.Action != "admin":
		shown.Href = routeHref(r.Route)
	}
	if len(r.Input) > maxShownInput {
		shown.Long = "/api/v1/refusals?" + url.Values{"owner": {r.Identity}, "route": {r.Route}}.Encode()
	} else {
		shown.Command = evalCommand(policy, r.Input)
	}
	return shown
}

// shownRefusals is how many a page shows, and how many more there were.
type shownRefusals struct {
	Count     int
	Forgotten uint64
}

// refusals is the page of what was refused lately.
func (d *Dashboard) refusals(query url.Values) (page.View, error) {
	v := page.View{Title: "Refusals", Here: "/refusals", Body: "refusals"}
	all := d.Proxy.Refusals()
	standing := 0
	for _, r := range all {
		if r.Standing {
			standing++
		}
	}
	lacks := d.Proxy.ForgottenRefusals()
	every := query.Get("show") == "all"
	tabs := []tab{
		{Href: "/refusals", Text: "Standing", State: refused, Count: standing, Here: !every, More: lacks.Agents.Standing || lacks.Scrapers.Standing},
		{Href: "/refusals?show=all", Text: "All lately", Count: len(all), Here: every},
	}
	if err := d.frame.Part(&v, "tabs", "tabs", tabs); err != nil {
		return v, err
	}
	if !every {
		all = slices.DeleteFunc(all, func(r proxy.RefusalInfo) bool { return !r.Standing })
	}
	if err := d.frame.Part(&v, "found", "refusals-found", shownRefusals{len(all), lacks.Agents.Count + lacks.Scrapers.Count}); err != nil {
		return v, err
	}
	if err := d.frame.Add(&v, "rows", "", "", nil); err != nil {
		return v, err
	}
	if err := d.frame.Part(&v, "strangers", "strangers", d.Strangers()); err != nil {
		return v, err
	}
	policy := d.Policy()
	for _, r := range all {
		shown := newRefusal(r, policy)
		if err := d.frame.Add(&v, "rows", shown.ID, "refusal-item", shown); err != nil {
			return v, err
		}
	}
	return v, nil
}
