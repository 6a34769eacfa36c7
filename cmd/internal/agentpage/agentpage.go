// Package agentpage is the agent's one page for people: how it stands with each proxy,
// and what became of each of its targets. Only the agent's command imports it.
//
// It looks like the proxy's dashboard and shares its style, but not its templates: a
// template package keeps every exported method of the program alive, which costs each
// agent some megabytes. The page has no script either and is not streamed: it asks the
// browser to load it again every five seconds.
package agentpage

import (
	"net/http"
	"strings"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/style"
)

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
	renewal  string
	version  string
}

// New makes the page; renewal is what to do about a certificate that has no successor.
func New(a Agent, identity authn.Keeper, renewal, version string) *Page {
	return &Page{agent: a, identity: identity, renewal: renewal, version: version}
}

// ServeHTTP answers with the page, or with what it links to.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if style.Asset(w, r.URL.Path) {
		return
	}
	d, status := newDocument(), http.StatusOK
	if r.URL.Path == "/" {
		p.whole(d)
	} else {
		status = http.StatusNotFound
		p.absent(d)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(d.out.Bytes())
}

func (p *Page) absent(d *document) {
	d.head("Not found", "")
	d.markup(`<h1>Not found</h1><p>There is no such page. <a href="/">The status</a> is the only one.</p>`)
	d.foot("", p.version)
}

func (p *Page) whole(d *document) {
	health, id := p.identity.Health(), ""
	material, err := p.identity.Material()
	if err == nil {
		id = material.Identity.String()
	}
	d.head(p.agent.Name(), `<meta http-equiv="refresh" content="5">`)
	p.ending(d, material, health)
	if err := p.agent.Ready(); err != nil {
		d.alert("Not ready.", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if health.Cause != "" {
		d.alert("The source of certificates is not well.", health.Cause)
	}
	d.markup(`<h1>Agent</h1>`)
	d.identity(p.agent.Name(), id, health.NotAfter)
	d.proxies(p.agent.Proxies())
	d.targets(p.agent.Routes())
	d.foot(id, p.version)
}

// ending tells of a certificate of ours that has no successor though a third of its life
// is left at most, or that has ended.
func (p *Page) ending(d *document, material *authn.Material, health authn.Health) {
	switch {
	case material != nil && 3*health.NotAfter.Sub(d.now) < health.NotAfter.Sub(material.Certificate.Leaf.NotBefore):
		d.alert("Our certificate is not renewed yet.", p.renewal)
	case material == nil && !health.NotAfter.IsZero() && d.now.After(health.NotAfter):
		d.alert("Our certificate has ended.", p.renewal)
	}
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
