// Package agentpage is the agent's one page for people: how it stands with each proxy,
// and what became of each of its targets. Only the agent's command imports it.
package agentpage

import (
	"embed"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/page"
)

//go:embed pages
var pages embed.FS

// Agent is what there is to show; *agent.Agent is one.
type Agent interface {
	Name() string
	Ready() error
	Proxies() []agent.ProxyInfo
	Routes() []agent.RouteInfo
}

// Page serves the page.
type Page struct {
	agent    Agent
	identity authn.Keeper
	log      *slog.Logger
	frame    *page.Frame
	streams  *page.Streams
}

// New makes the page. An error is a fault of its templates.
func New(a Agent, identity authn.Keeper, version string, log *slog.Logger) (*Page, error) {
	own, err := fs.Sub(pages, "pages")
	if err != nil {
		return nil, err
	}
	frame, err := page.NewFrame("agent", version, nil, own)
	if err != nil {
		return nil, err
	}
	return &Page{agent: a, identity: identity, log: log, frame: frame, streams: page.NewStreams(time.Second)}, nil
}

// ServeHTTP answers with the page, or with what changes of it to who watches.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if page.Asset(w, r.URL.Path) {
		return
	}
	view := p.view
	if r.URL.Path != "/" {
		view = p.absent
	}
	if page.Watching(r) {
		p.streams.Serve(w, r, view)
		return
	}
	v, err := view()
	if err == nil {
		err = p.frame.Write(w, v)
	}
	if err != nil {
		p.log.Error("status page failed", "path", r.URL.Path, "error", err)
		http.Error(w, "the page cannot be shown: the log says why", http.StatusInternalServerError)
	}
}

func (p *Page) absent() (page.View, error) {
	return page.View{Title: "Not found", Body: "absent", Status: http.StatusNotFound}, nil
}

// alert is what an operator should know first.
type alert struct{ Title, Text, Href string }

// identity is who the agent is.
type identity struct {
	Name, ID string
	Health   authn.Health
}

// route is one target, and what one word says of it.
type route struct {
	agent.RouteInfo
	State string
}

func (p *Page) view() (page.View, error) {
	v := page.View{Title: page.Plain(p.agent.Name()), Body: "agent"}
	me := identity{Name: p.agent.Name(), Health: p.identity.Health()}
	if material, err := p.identity.Material(); err == nil {
		me.ID = material.Identity.String()
	}
	var alerts []alert
	if err := p.agent.Ready(); err != nil {
		alerts = append(alerts, alert{Title: "Not ready.", Text: strings.ReplaceAll(err.Error(), "\n", "; ")})
	}
	if me.Health.Cause != "" {
		alerts = append(alerts, alert{Title: "The source of certificates is not well.", Text: me.Health.Cause})
	}
	for id, data := range map[string]any{"alerts": alerts, "identity": me, "proxies": p.agent.Proxies(), "about": me} {
		if err := p.frame.Part(&v, id, id, data); err != nil {
			return v, err
		}
	}
	if err := p.frame.Add(&v, "rows", "", "", nil); err != nil {
		return v, err
	}
	for _, r := range p.agent.Routes() {
		if err := p.frame.Add(&v, "rows", page.ID("t", r.Path), "target-row", route{r, stateOf(r)}); err != nil {
			return v, err
		}
	}
	return v, nil
}

// stateOf is the worst that there is to say of a target.
func stateOf(r agent.RouteInfo) string {
	accepted, refused := 0, 0
	for _, answer := range r.Answers {
		switch answer.State {
		case "accepted":
			accepted++
		case "refused":
			refused++
		}
	}
	switch {
	case refused > 0:
		return "refused"
	case accepted == 0:
		return "offered"
	case r.Last != nil && r.Last.Outcome != "ok":
		return "failing"
	}
	return "served"
}
