package agentpage

import (
	"strconv"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
)

// head begins the page, up to its content.
func (d *document) head(title string, meta markup) {
	d.markup(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
` + meta)
	d.value(`<title>`, title, ` · Sallyport agent</title>
<link rel="icon" type="image/svg+xml" href="/assets/mark.svg">
<link rel="stylesheet" href="/assets/style.css">
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="gate">
<div class="wide">
<a class="brand" href="/"><svg class="mark" viewBox="0 0 32 32" width="28" height="28" aria-hidden="true" focusable="false"><path class="arch" d="M4 30V14a12 12 0 0 1 24 0v16h-4V14a8 8 0 0 0-16 0v16z"/><path class="bars" d="M11.2 12v13.4l1.3 2.6 1.3-2.6V8.3M14.7 7.6v17.8L16 28l1.3-2.6V7.6M18.2 8.3v17.1l1.3 2.6 1.3-2.6V12M8 15.4h16v1.8H8zM8 20.6h16v1.8H8z"/></svg><span class="name">Sallyport</span> <span class="role">agent</span></a>
`)
	if meta != "" {
		d.markup(`<p class="live"><span class="dot" aria-hidden="true"></span>every 5 s</p>
`)
	}
	d.markup(`</div>
</header>
<main id="main" class="wide" tabindex="-1">
`)
}

// foot ends the page.
func (d *document) foot(id, version string) {
	d.markup("\n</main>\n<footer class=\"wide\">\n<p>")
	d.id(id, `no valid certificate`)
	d.value(` · sallyport-agent `, version, "</p>\n</footer>\n</body>\n</html>\n")
}

func (d *document) id(id string, none markup) {
	if id == "" {
		d.markup(none)
		return
	}
	d.value(`<span class="id">`, id, `</span>`)
}

func (d *document) identity(name, id string, notAfter time.Time) {
	word, none := markup(`<dt>Certificate ends</dt><dd>`), markup(`none yet`)
	if !notAfter.IsZero() && d.now.After(notAfter) {
		word, none = `<dt>Certificate ended</dt><dd>`, `none any more`
	}
	d.value("<dl class=\"facts\">\n<dt>Name</dt><dd>", name, "</dd>\n<dt>Identity</dt><dd>")
	d.id(id, none)
	d.markup("</dd>\n")
	if !notAfter.IsZero() {
		d.markup(word)
		d.ago(notAfter)
		d.markup("</dd>\n")
	}
	d.markup("</dl>\n")
}

func (d *document) proxies(proxies []agent.ProxyInfo) {
	d.markup(`<section aria-labelledby="h-proxies"><h2 id="h-proxies">Proxies</h2><ul class="refusals">`)
	for _, p := range proxies {
		d.proxy(p)
	}
	d.markup("</ul></section>\n")
}

func (d *document) proxy(p agent.ProxyInfo) {
	kind := markup("failing")
	switch p.State {
	case "ready":
		kind = "served"
	case "connected":
		kind = "gone"
	}
	d.markup(`<li class="refusal"><p class="who">`)
	d.chip(kind, p.State)
	d.value(` <span class="path">`, p.Addr, `</span> `)
	d.lasting(p.Since)
	d.markup(`</p>`)
	d.given(`<p>`, p.Reason, `</p>`)
	d.given(`<p><strong>`, p.Hint, `</strong></p>`)
	if p.Session != "" {
		d.session(p)
	}
	d.markup("</li>\n")
}

func (d *document) session(p agent.ProxyInfo) {
	d.value(`<p class="soft"><span class="id">`, p.ID, `</span>, session `)
	d.value(`<span class="id">`, p.Session, `</span>`)
	d.given(`, release `, p.Software, "")
	if p.NotAfter != nil {
		d.markup(`; its certificate ends `)
		d.ago(*p.NotAfter)
	}
	routes := markup(` routes accepted`)
	if p.Accepted == 1 {
		routes = ` route accepted`
	}
	d.value(`</p><p>`, strconv.Itoa(p.Accepted), routes)
	if p.Refused != 0 {
		d.value(`, <span class="warn">`, strconv.Itoa(p.Refused), ` refused</span>`)
	}
	if p.Offered != 0 {
		d.value(`, `, strconv.Itoa(p.Offered), ` without an answer`)
	}
	d.markup(`</p>`)
}

// targets is a table by its roles too: on a narrow screen the style makes its rows cards.
func (d *document) targets(routes []agent.RouteInfo) {
	if len(routes) == 0 {
		d.markup(`<section aria-labelledby="h-targets"><h2 id="h-targets">Targets</h2><p class="none">There is none: name what to scrape in <code>SALLYPORT_TARGETS</code>, or in the file of <code>SALLYPORT_TARGETS_FILE</code>.</p></section>`)
		return
	}
	d.markup(`<section aria-labelledby="h-targets"><h2 id="h-targets">Targets</h2>
<table class="routes targets" role="table">
<caption class="unseen">Targets by path, with the proxies' answers and how the last scrape went</caption>
<thead role="rowgroup"><tr role="row"><th role="columnheader" scope="col">Route</th><th role="columnheader" scope="col">State</th><th role="columnheader" scope="col">Target</th><th role="columnheader" scope="col">Last scrape</th><th role="columnheader" scope="col">Proxies' answers</th></tr></thead>
<tbody role="rowgroup">
`)
	for _, r := range routes {
		d.target(r)
	}
	d.markup("</tbody>\n</table></section>\n")
}

func (d *document) target(r agent.RouteInfo) {
	state := stateOf(r)
	kind := markup("served")
	switch state {
	case "offered":
		kind = "gone"
	case "refused":
		kind = "refused"
	case "failing":
		kind = "failing"
	}
	d.value(`<tr role="row"><th role="rowheader" scope="row" class="path">`, r.Path, `</th><td role="cell" class="state">`)
	d.chip(kind, state)
	d.value(`</td><td role="cell" class="agent"><span class="id">`, r.Target, `</span></td><td role="cell" class="outcome">`)
	d.last(r.Last)
	d.markup(`</td><td role="cell" class="whole">`)
	for _, answer := range r.Answers {
		d.answer(answer)
	}
	d.markup("</td></tr>\n")
}

func (d *document) last(last *agent.LastInfo) {
	if last == nil {
		d.markup(`<span class="soft">not scraped yet</span>`)
		return
	}
	word := markup(`<span class="word bad">`)
	if last.Outcome == "ok" {
		word = `<span class="word">`
	}
	d.value(word, last.Outcome, `</span> `)
	d.ago(last.At)
	d.given(`<br><span class="why">`, last.Reason, `</span>`)
}

func (d *document) answer(a agent.AnswerInfo) {
	d.value(`<div><span class="soft id">`, a.Proxy, `</span> `)
	d.text(a.State)
	d.given(`: <span class="why">`, a.Reasons, `</span>`)
	if a.Again != nil {
		d.markup(` <span class="soft">offered again `)
		d.ago(*a.Again)
		d.markup(`</span>`)
	}
	d.markup(`</div>`)
}
