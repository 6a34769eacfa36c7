package testenv_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/testenv"
)

// Every page says what it should, in both themes and on a phone, without a complaint of
// the browser and without having to be scrolled sideways.
func testDashboardContent(t *testing.T, s *scene, browser *testenv.Chromium) {
	pages := []struct {
		name, url string
		want      []string
	}{
		{"routes", s.admin + "/", []string{"10 in all", "/billing/invoices", "outside of /shop", "agent_gone", "target_unreachable", "target_timeout", "refused to 1 scraper", "warehouse-7"}},
		{"route", s.route("/shop/search"), []string{"Scrapes fail: target_status", "curl -g -i http://127.0.0.1:", "the target answered with status 503", "shop-eu-1", testenv.ID("shop")}},
		{"route-gone", s.route("/nodes/db-2/exporter"), []string{"The agent is gone", "sallyport-agent running?", "db-2"}},
		{"refusals", s.admin + "/refusals", []string{testenv.ID("grafana"), "/shop/chart", "no agent has registered this path", "Make the decision again", "rejected", "the peer refused the proxy", "claims to be " + testenv.ID("nodes/a-name-that-is-rather-long/late"), "ended", "scheme: https"}},
		{"agents", s.admin + "/agents", []string{"shop-eu-1", "X25519MLKEM768", "0 busy", "not renewed yet", "look at the agent's machine"}},
		{"policy", s.admin + "/policy", []string{"builtin:default", "register", testenv.ID("proxy")}},
		{"agent", s.agent + "/", []string{"4 routes accepted, 1 refused", "connection refused", "it answered with status 503", "offered again in"}},
	}
	for _, theme := range []string{"light", "dark"} {
		for _, size := range []struct {
			name                string
			width, height, most int
		}{{"wide", 1440, 900, 1160}, {"phone", 390, 844, 844}} {
			p := browser.Page(size.width, size.height, theme == "dark")
			for _, page := range pages {
				p.Go(page.url)
				p.Await(`document.readyState === "complete" && (document.getElementById("live-text")?.textContent ?? "live") === "live"`) // the agent's page has no script
				var text string
				if err := p.Eval(`document.body.innerText`, &text); err != nil {
					t.Fatal(err)
				}
				for _, want := range page.want {
					if !strings.Contains(text, want) {
						t.Errorf("%s, %s, %s: it does not say %q:\n%s", page.name, size.name, theme, want, text)
					}
				}
				checkWidth(t, p, page.name+", "+size.name)
				checkContrast(t, p, page.name+", "+theme)
				picture(t, p, page.name+"-"+size.name+"-"+theme, size.width, size.height, size.most)
			}
			clean(t, p)
		}
	}
}

// across finds what reaches over the right margin of the window, and so has to be
// scrolled to sideways.
const across = `[...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && !e.closest(".unseen, thead, .gate nav, svg > *") &&
  e.getBoundingClientRect().right > document.documentElement.clientWidth + .5).map(e => e.tagName + "." + e.className + " " + e.textContent.trim().slice(0, 40))`

func checkWidth(t *testing.T, p *testenv.BrowserPage, where string) {
	t.Helper()
	var wider float64
	var elements []string
	if err := p.Eval(`document.documentElement.scrollWidth - document.documentElement.clientWidth`, &wider); err != nil {
		t.Fatal(err)
	}
	if err := p.Eval(across, &elements); err != nil {
		t.Fatal(err)
	}
	if wider > 0 || len(elements) > 0 {
		t.Errorf("%s: it is %v px too wide: %q", where, wider, elements)
	}
}

// grown opens what is folded, and tells each time at its longest.
const grown = `document.querySelectorAll("details").forEach(d => d.open = true);
  document.querySelectorAll("time").forEach(t => t.textContent = "59 min 59 s ago")`

// On the narrowest of phones no page has to be scrolled sideways, in whatever state it is:
// with all kinds of trouble, filtered, with nothing to show, and when the proxy's own
// certificate has ended. Nor at the widths between.
func testDashboardNarrow(t *testing.T, s *scene, browser *testenv.Chromium) {
	barren := newBarren(t)
	pages := map[string]string{
		"routes": s.admin + "/", "no match": s.admin + "/?q=none", "refused": s.admin + "/?state=refused", "absent": s.admin + "/nowhere",
		"agents": s.admin + "/agents", "no agent matches": s.admin + "/agents?q=none", "refusals": s.admin + "/refusals",
		"all refusals": s.admin + "/refusals?show=all", "policy": s.admin + "/policy", "agent": s.agent + "/",
		"barren routes": barren + "/", "barren agents": barren + "/agents", "barren refusals": barren + "/refusals", "barren policy": barren + "/policy",
		"unknown route": s.route("/" + strings.Repeat("a-very-long-name/", 30)),
	}
	for _, path := range []string{"/shop/search", "/shop/images", "/nodes/db-2/exporter", "/warehouse/queue", "/billing/invoices", "/shop/chart", "/lab/x/tools"} {
		pages["route "+path] = s.route(path)
	}
	p := browser.Page(360, 800, false)
	for name, url := range pages {
		p.Go(url)
		p.Await(`document.readyState === "complete" && (document.getElementById("live-text")?.textContent ?? "live") === "live"`)
		for _, width := range []int{360, 820, 821, 1180, 1181, 1280} {
			p.Resize(width, 800)
			if err := p.Eval(grown, nil); err != nil {
				t.Fatal(err)
			}
			checkWidth(t, p, fmt.Sprintf("%s at %d px", name, width))
			screenshot(t, p, fmt.Sprintf("%s-%d", strings.NewReplacer(" ", "-", "/", "_").Replace(name), width))
		}
	}
}

// newBarren is a proxy to which nobody has come and whose certificate has ended. It
// returns its dashboard, which says so, and what to do next.
func newBarren(t *testing.T) string {
	t.Helper()
	s := newSite(t)
	leaf := proxyLeaf
	leaf.NotBefore, leaf.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(6*time.Second)
	proxy := s.startProxy(s.files("proxy", leaf)...)
	admin := "http://" + proxy.Await(`"admin":"([^"]+)"`)
	said := map[string][]string{
		"/":         {"No route is registered.", "SALLYPORT_PROXY_ADDRS", "SALLYPORT_TARGETS"},
		"/agents":   {"No agent is connected.", "SALLYPORT_TUNNEL_ADDR"},
		"/refusals": {"Nothing is known to be refused now", "None that needs a look."},
		"/policy":   {"no valid certificate", "own certificate expired", ">ended<"},
	}
	testenv.Eventually(t, func() error {
		for path, texts := range said {
			response, err := http.Get(admin + path)
			if err != nil {
				return err
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil {
				return err
			}
			for _, text := range texts {
				if !strings.Contains(string(body), text) {
					return fmt.Errorf("%s does not say %q: %s", path, text, body)
				}
			}
		}
		return nil
	})
	return admin
}

// contrast finds text whose colour is too close to what it stands on, by the formula of
// WCAG 2: 4.5 to 1, or 3 to 1 where it is large.
const contrast = `(() => {
  const channel = (v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const parse = (colour) => { const m = colour.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const over = (a, b) => a.slice(0, 3).map((v, i) => v * a[3] + b[i] * (1 - a[3]));
  const ground = (e) => {
    const layers = [];
    for (; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !e.checkVisibility() || e.closest("script, svg, .unseen, option")) continue;
    const style = getComputedStyle(e), below = ground(e);
    const a = light(over(parse(style.color), below)), b = light(below);
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
    if (ratio < (large ? 3 : 4.5)) bad.push(ratio.toFixed(2) + " " + e.tagName + "." + e.className + " " + walker.currentNode.textContent.trim().slice(0, 40));
  }
  return [...new Set(bad)];
})()`

func checkContrast(t *testing.T, p *testenv.BrowserPage, where string) {
	t.Helper()
	var bad []string
	if err := p.Eval(contrast, &bad); err != nil {
		t.Fatal(err)
	}
	for _, text := range bad {
		t.Errorf("%s: too little contrast: %s", where, text)
	}
}

// What happens shows without the page being loaded again.
func testDashboardLive(t *testing.T, s *scene, browser *testenv.Chromium) {
	p := browser.Page(1440, 900, false)
	p.Go(s.admin + "/?q=%2Fshop%2Fsearch")
	p.Await(rowOf("/shop/search") + `.querySelector(".chip").textContent === "failing"`)
	if err := p.Eval(`window.unloaded = false; addEventListener("pagehide", () => { window.unloaded = true; }); `+rowOf("/shop/search")+`.querySelector("a").focus()`, nil); err != nil {
		t.Fatal(err)
	}
	s.healthy.Store(true)
	s.scrape(s.client, "/shop/search")
	p.Await(rowOf("/shop/search") + `.querySelector(".chip").textContent === "served"`)
	p.Await(`window.unloaded === false && document.activeElement === ` + rowOf("/shop/search") + `.querySelector("a")`)

	// A route's page too: an agent goes, and says so.
	p.Go(s.route("/nodes/web-1/app"))
	p.Await(`document.querySelector("#head .chip").textContent === "served"`)
	s.stop(s.web)
	p.Await(`document.querySelector("#head .chip").textContent === "gone" && document.querySelector("#advice").textContent.includes("The agent is gone")`)

	// And the agent's: it is told which proxy is there.
	p.Go(s.agent + "/")
	p.Await(`[...document.querySelectorAll(".chip")].some(chip => chip.textContent === "ready")`)
	clean(t, p)
}

// Tabs, the search and the outcome show what they say; the search without a click, and
// by a key.
func testDashboardFilters(t *testing.T, s *scene, browser *testenv.Chromium) {
	p := browser.Page(1440, 900, false)
	paths := `[...document.querySelectorAll("#rows > tr .path")].map(p => p.textContent).join(" ")`
	p.Go(s.admin + "/")
	p.Await(`document.getElementById("live-text").textContent === "live"`)
	p.Press("/")
	for _, key := range "QUEUE" {
		p.Press(string(key))
	}
	p.Await(paths + ` === "/warehouse/queue"`)
	p.Await(`location.search === "?q=QUEUE" && document.getElementById("found").textContent.startsWith("1 of ")`)
	for _, tt := range []struct{ tab, want string }{
		{"failing", "/shop/images /warehouse/queue"},
		{"gone", "/nodes/db-2/exporter /nodes/web-1/app /nodes/web-1/exporter"},
		{"refused", "/billing/invoices"},
	} {
		p.Go(s.admin + "/?state=" + tt.tab)
		p.Await(fmt.Sprintf(`%s === %q`, paths, tt.want))
		p.Await(fmt.Sprintf(`document.querySelector("#tabs [aria-current]").className === %q`, tt.tab))
	}
	p.Go(s.admin + "/?outcome=target_timeout")
	p.Await(paths + ` === "/warehouse/queue"`)

	// Everything can be reached by keyboard, and seen where one is: the first stop skips
	// what is on every page.
	p.Go(s.admin + "/")
	p.Await(`document.getElementById("live-text").textContent === "live"`)
	p.Press("Tab")
	p.Await(`document.activeElement.className === "skip" && document.activeElement.getBoundingClientRect().top >= 0`)
	for range 3 {
		p.Press("Tab")
	}
	p.Await(`document.activeElement.closest(".gate") && getComputedStyle(document.activeElement).outlineStyle !== "none"`)
	clean(t, p)
}

// An agent whose name is HTML and a script is shown by that name.
func testDashboardHostile(t *testing.T, s *scene, browser *testenv.Chromium) {
	p := browser.Page(1440, 900, false)
	for _, url := range []string{
		s.admin + "/?q=lab", s.admin + "/agents?q=onerror", s.route("/lab/x/tools"),
		s.admin + "/?q=" + `%22%3E%3Cscript%3Edocument.title%3D'owned'%3C%2Fscript%3E`, s.route(`"><script>document.title='owned'</script>`),
	} {
		p.Go(url)
		p.Await(`document.getElementById("live-text").textContent === "live"`)
		p.Await(`!document.title.includes("owned") || document.title.includes("<script>")`)
		p.Await(`document.querySelectorAll("img, script:not([src]), iframe, [onerror]").length === 0`)
	}
	p.Go(s.admin + "/?q=lab")
	p.Await(fmt.Sprintf(`%s.querySelector(".called").textContent === %q`, rowOf("/lab/x/tools"), hostileName))
	// Should it get in all the same, the policy of the page keeps it from running.
	if err := p.Eval(`document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.owned = true'>")`, nil); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func() error {
		for _, fault := range p.Faults() {
			if strings.Contains(fault, "Content Security Policy") {
				return nil
			}
		}
		return fmt.Errorf("no Content-Security-Policy objects: %v", p.Faults())
	})
	p.Await(`window.owned === undefined`)
}

// A screen reader finds its way: landmarks, one heading of the first level, captions,
// headers and labels, names for pictures; and a table stays one where it is drawn as cards.
func testDashboardReadable(t *testing.T, s *scene, browser *testenv.Chromium) {
	p := browser.Page(390, 844, false)
	for _, url := range []string{s.admin + "/", s.route("/shop/images"), s.admin + "/agents", s.admin + "/refusals", s.admin + "/policy", s.agent + "/"} {
		p.Go(url)
		p.Await(`document.documentElement.lang === "en" && document.title !== ""`)
		for _, rule := range []string{
			`document.querySelectorAll("header").length === 1 && document.querySelectorAll("main").length === 1 && document.querySelectorAll("footer").length === 1`,
			`document.querySelectorAll("h1").length === 1`,
			`[...document.querySelectorAll("table")].every(t => t.caption && t.getAttribute("role") === "table")`,
			`[...document.querySelectorAll("th")].every(h => h.scope && h.getAttribute("role"))`,
			`[...document.querySelectorAll("td")].every(d => d.getAttribute("role") === "cell")`,
			`[...document.querySelectorAll("input:not([type=hidden]), select")].every(i => i.labels.length === 1)`,
			`[...document.querySelectorAll("svg")].every(g => g.getAttribute("aria-hidden") || g.getAttribute("aria-label"))`,
			`new Set([...document.querySelectorAll("[id]")].map(e => e.id)).size === document.querySelectorAll("[id]").length`,
			`document.querySelectorAll("[aria-live]").length <= 1`,
			`document.querySelectorAll("[style], style").length === 0`,
		} {
			var ok bool
			if err := p.Eval(rule, &ok); err != nil || !ok {
				t.Errorf("%s: not so: %s %v", url, rule, err)
			}
		}
	}
}
