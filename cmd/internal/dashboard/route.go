package dashboard

import (
	"cmp"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-951114d4/sallyport/cmd/internal/page"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
	"github.com/seed-951114d4/sallyport/proxy"
)

// story is all that is known of one path.
type story struct {
	row
	Known    bool // there is a route
	Lacking  bool // what was refused lately is not all remembered
	Holders  []holder
	Failure  *proxy.FailureInfo
	Advice   []advice
	Scrapes  []proxy.ScrapeInfo
	Chart    template.HTML
	Slowest  float64
	Refusals []refusal
	Labels   []pair // of a route that is gone
	Ended    string // why its last session did
}

// holder is one session that holds the route.
type holder struct {
	proxy.RouteInfo
	URL     string
	Labels  []pair
	Claimed []pair
	Command string
}

type pair struct{ Name, Value string }

// advice is what a state means and what to do about it.
type advice struct {
	Title, Whose, Means string
	Kind                string // the state whose colour it has
	Steps               []step
}

// step is a sentence, and what to type.
type step struct{ Text, Command string }

// route is the page of one path.
func (d *Dashboard) route(query url.Values) (page.View, error) {
	path := query.Get("path")
	s := d.story(path)
	v := page.View{Title: page.Plain(path), Here: "/", Body: "route", Data: path}
	if !s.Known && len(s.Refusals) == 0 {
		v.Status = http.StatusNotFound
	}
	for _, part := range []string{"head", "advice", "scrapes", "holders", "route-refusals"} {
		if err := d.frame.Part(&v, part, part, s); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (d *Dashboard) story(path string) story {
	policy := d.Policy()
	s := story{row: row{Path: path}}
	var infos []proxy.RouteInfo
	if path != "" { // which would be all
		infos = d.Proxy.Browse(proxy.RouteQuery{Path: path, Recent: true}).Routes
	}
	for _, r := range d.Proxy.Refusals() {
		if path != "" && r.Route == path && r.Action != "admin" {
			s.Refusals = append(s.Refusals, newRefusal(r, policy))
		}
	}
	lacks := d.Proxy.ForgottenRefusals()
	s.Lacking = lacks.Agents.Standing || lacks.Scrapers.Standing
	if len(infos) > 0 {
		s.Known, s.row = true, routeRow(infos)
		last := infos[len(infos)-1]
		s.Scrapes, s.Failure, s.Chart = last.Recent, last.Failure, spark(last.Recent, large)
		s.Labels, s.Ended = pairs(last.Labels), last.GoneReason
		for _, scrape := range s.Scrapes {
			s.Slowest = max(s.Slowest, scrape.Duration)
		}
	}
	var target *proxy.TargetInfo
	for _, info := range infos {
		if info.Session == "" {
			continue
		}
		h := holder{RouteInfo: info, Labels: pairs(info.Labels), Claimed: pairs(info.Claimed)}
		h.URL, target = targetURL(info.Target), info.Target
		h.Command = "sallyport policy eval " + quote(policy.Name) + " --explain --agent " + quote(info.Owner) + " --path " + quote(info.Path)
		s.Holders = append(s.Holders, h)
	}
	s.Advice = s.advise(target)
	return s
}

// advise says what to do, of the route itself first.
func (s *story) advise(target *proxy.TargetInfo) []advice {
	words := strings.NewReplacer("{url}", quote(askedURL(target)), "{path}", s.Path, "{agent}", cmp.Or(s.Agent, "the agent"))
	var all []advice
	seen := make(map[proxy.Outcome]bool)
	add := func(title, kind string, on proxy.Outcome) {
		known := proxy.AdviceOn(on)
		if known.Case == "" || seen[on] {
			return
		}
		seen[on] = true
		a := advice{Title: title, Kind: kind, Whose: known.Whose, Means: known.Means}
		for _, text := range known.Do {
			text = words.Replace(text)
			at := strings.Index(text, "curl ")
			if at < 0 {
				at = len(text)
			}
			a.Steps = append(a.Steps, step{Text: text[:at], Command: text[at:]})
		}
		all = append(all, a)
	}
	switch s.State {
	case gone:
		add("The agent is gone", gone, proxy.AdviceGone)
		if s.Ended != "" {
			all[0].Means += " Its last session ended at " + s.Since.UTC().Format("2 Jan 15:04:05 UTC") + ": " + s.Ended + "."
		}
	case failing:
		add("Scrapes fail: "+string(s.Outcome), failing, s.Outcome)
	case served: // what a scraper did wrong does not make it fail
		if len(s.Scrapes) > 0 && failure(s.Scrapes[0].Outcome) {
			add("The last scrape failed: "+string(s.Scrapes[0].Outcome), gone, s.Scrapes[0].Outcome)
		}
	}
	for _, r := range s.Refusals {
		switch {
		case !r.Standing:
		case r.Action == "register" && r.Effect == "refused":
			add("An offer is refused", refused, proxy.AdviceRefused)
		case r.Action == "register":
			add("An offer is denied", refused, proxy.AdviceDenied)
		case r.Action == "scrape" && denied(r.RefusalInfo):
			add("A scraper was refused lately", refused, proxy.AdviceScraper)
		case r.Action == "scrape" && tunnelv1.CheckPath(r.Route) != nil:
			add("It can be no route", gone, proxy.AdviceMalformed)
		case r.Action == "scrape" && !s.Known:
			add("Nobody has registered it", gone, proxy.AdviceAbsent)
		}
	}
	return all
}

// self is the scheme of a target that is the agent itself.
const self = "self"

func targetURL(t *proxy.TargetInfo) string {
	switch {
	case t == nil:
		return ""
	case t.Scheme == self:
		return self
	}
	return t.Scheme + "://" + net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) + t.Path
}

// askedURL is where one who sits at the agent's machine may ask what the agent asks. It is
// for a command, and so visible ASCII or nothing that an agent chose.
func askedURL(t *proxy.TargetInfo) string {
	url := targetURL(t)
	switch {
	case url == self: // what its admin listener serves, if that is where it is by default
		return "http://127.0.0.1:8093/metrics"
	case url == "" || strings.ContainsFunc(url, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "URL_OF_THE_TARGET"
	}
	return url
}

func pairs(m map[string]string) []pair {
	list := make([]pair, 0, len(m))
	for name, value := range m {
		list = append(list, pair{name, value})
	}
	slices.SortFunc(list, func(a, b pair) int { return strings.Compare(a.Name, b.Name) })
	return list
}
