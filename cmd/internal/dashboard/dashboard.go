// Package dashboard is the proxy's pages for people: which routes there are and how
// their scrapes go, which agents serve them, what was refused and why, and the policy in
// force. It shows what the proxy remembers and changes nothing. Only the proxy's
// commands import it.
//
// What agents and scrapers chose, names and paths and labels and reasons, is text here
// and never HTML: the templates escape it, and the listener's Content-Security-Policy
// would let none of it run.
package dashboard

import (
	"embed"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/page"
	"github.com/seed-951114d4/sallyport/proxy"
)

//go:embed pages
var pages embed.FS

// interval is how often a page that is watched is made anew.
const interval = time.Second

// Proxy is what there is to show; *proxy.Proxy is one.
type Proxy interface {
	Browse(proxy.RouteQuery) proxy.RoutePage
	CountRoutes(proxy.RouteQuery) proxy.RouteCounts
	BrowseSessions(proxy.SessionQuery) ([]proxy.SessionInfo, string)
	Scrapes(proxy.RouteQuery) (scrapes []proxy.ScrapeInfo, next string)
	Refusals() []proxy.RefusalInfo
	ForgottenRefusals() proxy.ForgottenRefusals
	Decisions() []proxy.DecisionCount
	DiscoveryBegins() (at time.Time, answers bool)
}

// Parts are what a dashboard shows.
type Parts struct {
	Proxy  Proxy
	Policy func() authz.Status
	// Ready is why the proxy is not ready, nil if it is.
	Ready func() error
	// ID is who the proxy is, "" where it has no certificate yet.
	ID func() string
	// Sources are those of the proxy's certificates, by the side they are for.
	Sources map[string]func() authn.Health
	// Renewals say what to do about such a certificate that ends and has no successor.
	Renewals map[string]string
	// ScrapeName is why Prometheus will refuse the certificate under the name to which
	// discovery sends it, "" where it will not; nil: nobody looks.
	ScrapeName func() string
	// Strangers are handshakes that failed lately, the latest first.
	Strangers func() []Stranger
	Version   string
	Log       *slog.Logger
}

// Stranger is a peer whose handshakes failed: nobody knows who it is.
type Stranger struct {
	Listener string `json:"listener"` // tunnel, scrape or admin
	RemoteIP string `json:"remote_ip"`
	Reason   string `json:"reason"`
	Error    string `json:"error"` // the last one
	Hint     string `json:"hint,omitempty"`
	// Claims is who its certificate says that it is, which nothing proves.
	Claims    string     `json:"claims,omitempty"`
	ClaimEnds *time.Time `json:"claim_ends,omitempty"`
	First     time.Time  `json:"first"`
	Last      time.Time  `json:"last"`
	Count     int        `json:"count"`
}

// Dashboard serves the pages.
type Dashboard struct {
	Parts
	frame   *page.Frame
	streams *page.Streams
	counts  counts
}

// New makes a dashboard. An error is a fault of its templates.
func New(parts Parts) (*Dashboard, error) {
	own, err := fs.Sub(pages, "pages")
	if err != nil {
		return nil, err
	}
	frame, err := page.NewFrame("proxy", parts.Version, []page.Link{
		{Href: "/", Text: "Routes"}, {Href: "/agents", Text: "Agents"}, {Href: "/refusals", Text: "Refusals"}, {Href: "/policy", Text: "Policy"},
	}, own)
	if err != nil {
		return nil, err
	}
	return &Dashboard{Parts: parts, frame: frame, streams: page.NewStreams(interval)}, nil
}

// ServeHTTP answers with a page, or with what changes of it to who watches.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if page.Asset(w, r.URL.Path) {
		return
	}
	view := func() (page.View, error) { return d.view(r) }
	if page.Watching(r) {
		if err := d.streams.Serve(w, r, view); err != nil {
			d.Log.Error("dashboard failed", "path", r.URL.Path, "error", err)
		}
		return
	}
	v, err := view()
	if err == nil {
		err = d.frame.Write(w, v)
	}
	if err != nil {
		d.Log.Error("dashboard failed", "path", r.URL.Path, "error", err)
		http.Error(w, "the page cannot be shown: the log says why", http.StatusInternalServerError)
	}
}

// view makes the page of a request as it is now.
func (d *Dashboard) view(r *http.Request) (v page.View, err error) {
	query := r.URL.Query()
	switch r.URL.Path {
	case "/":
		v, err = d.routes(query)
	case "/route":
		v, err = d.route(query)
	case "/agents":
		v, err = d.agents(query)
	case "/refusals":
		v, err = d.refusals(query)
	case "/policy":
		v, err = d.policy()
	default:
		v = page.View{Title: "Not found", Body: "absent", Status: http.StatusNotFound}
	}
	if err != nil {
		return v, err
	}
	if err := d.frame.Part(&v, "alerts", "alerts", d.alerts()); err != nil {
		return v, err
	}
	return v, d.frame.Part(&v, "about", "about", d.ID())
}

// alert is what an operator should know on whichever page.
type alert struct{ Title, Text, Href string }

func (d *Dashboard) alerts() []alert {
	var alerts []alert
	if err := d.Ready(); err != nil {
		alerts = append(alerts, alert{Title: "Not ready.", Text: strings.ReplaceAll(err.Error(), "\n", "; ")})
	}
	if failure := d.Policy().Failure; failure != nil {
		text, _, _ := strings.Cut(failure.Error, "\n")
		alerts = append(alerts, alert{"The policy does not load, the one before stays in force.", text, "/policy"})
	}
	now := time.Now()
	for _, of := range d.sources() {
		if left := of.NotAfter.Sub(now); of.Material == nil && !of.NotBefore.IsZero() && 3*left < of.NotAfter.Sub(of.NotBefore) {
			alerts = append(alerts, alert{Title: "The certificate of the " + of.Side + " side is not renewed yet.", Text: "It ends at " + moment(of.NotAfter) + "." + mending(d.Renewals[of.Side]), Href: "/policy"})
		}
		if of.Material != nil && !of.NotAfter.IsZero() && now.After(of.NotAfter) {
			alerts = append(alerts, alert{Title: "The certificate of the " + of.Side + " side has ended.", Text: "That was at " + moment(of.NotAfter) + ": nobody new can connect." + mending(d.Renewals[of.Side]), Href: "/policy"})
		}
		if of.Cause != "" {
			alerts = append(alerts, alert{Title: "The source of certificates of the " + of.Side + " side is not well.", Text: of.Cause, Href: "/policy"})
		}
		if of.Revocation != "" {
			alerts = append(alerts, alert{Title: "A revocation list of the " + of.Side + " side lets nobody in.", Text: of.Revocation, Href: "/policy"})
		}
	}
	if d.ScrapeName != nil {
		if why := d.ScrapeName(); why != "" {
			alerts = append(alerts, alert{Title: "Prometheus will refuse the proxy's certificate.", Text: why})
		}
	}
	if shutOut(d.Strangers(), now) {
		alerts = append(alerts, alert{Title: "Scrapers fail to connect.", Text: "No scrape of theirs gets as far as the routes. Who, and why, is with the handshakes that failed.", Href: "/refusals"})
	}
	return alerts
}

// shutOut tells whether somebody tries over and over to connect as a scraper.
func shutOut(strangers []Stranger, now time.Time) bool {
	const times, lately = 3, 2 * time.Minute
	return slices.ContainsFunc(strangers, func(s Stranger) bool {
		return s.Listener == "scrape" && s.Count >= times && now.Sub(s.Last) < lately
	})
}

func moment(at time.Time) string { return at.UTC().Format("2 Jan 15:04:05 UTC") }

// mending says what renews a certificate.
func mending(renewal string) string {
	if renewal == "" {
		return ""
	}
	return " To mend it, " + renewal
}

// counts are the numbers of all routes, made at most once in an interval for however
// many watch.
type counts struct {
	mu   sync.Mutex
	at   time.Time
	last proxy.RouteCounts
}

func (d *Dashboard) countAll() proxy.RouteCounts {
	d.counts.mu.Lock()
	defer d.counts.mu.Unlock()
	if time.Since(d.counts.at) > interval/2 {
		d.counts.last = d.Proxy.CountRoutes(proxy.RouteQuery{})
		d.counts.at = time.Now()
	}
	return d.counts.last
}
