package testenv_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
)

// scene is a system as an operator meets it: most of it well, and one of each kind of
// trouble.
type scene struct {
	*site
	admin   string // http://host:port
	agent   string // that of an agent
	client  *http.Client
	healthy atomic.Bool // the search target
	web     *testenv.Process
}

// hostileName is what an agent calls itself that wants to be more than text.
const hostileName = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{site: newSite(t)}
	proxy := s.startProxy(append(s.files("proxy", proxyLeaf), "SALLYPORT_MAX_SCRAPE_TIMEOUT=5s", "SALLYPORT_DISCOVERY_WARMUP=0s")...)
	s.admin = "http://" + proxy.Await(`"admin":"([^"]+)"`)
	fine, big := testenv.Metrics(t), testenv.Body(t, testenv.Exposition(180_000))
	search := testenv.NewTarget(t, func(w http.ResponseWriter, _ *http.Request) {
		if !s.healthy.Load() {
			http.Error(w, "index is being rebuilt", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", testenv.Text)
		_, _ = w.Write(testenv.Exposition(9000))
	})
	s.healthy.Store(true)
	s.launch("shop", "shop-eu-1",
		"/shop/cart="+fine.URL, "/shop/checkout="+big.URL, "/shop/search="+search.URL, "/shop/images=http://127.0.0.1:1/metrics", "/billing/invoices="+fine.URL)
	s.web = s.launch("nodes/web-1", "web-1", "/nodes/web-1/exporter="+big.URL, "/nodes/web-1/app="+fine.URL)
	db := s.launch("nodes/db-2", "db-2", "/nodes/db-2/exporter="+fine.URL)
	s.launch("warehouse", "warehouse-7", "/warehouse/stock="+fine.URL, "/warehouse/queue="+testenv.Slow(t).URL)
	s.client = s.scraper("prometheus")
	for i := range 20 {
		if i == 18 {
			s.healthy.Store(false)
			s.stop(db)
		}
		for _, path := range []string{"/shop/cart", "/shop/checkout", "/shop/search", "/shop/images", "/nodes/web-1/exporter", "/nodes/web-1/app", "/nodes/db-2/exporter", "/warehouse/stock"} {
			s.scrape(s.client, path)
		}
	}
	s.scrape(s.client, "/warehouse/queue")
	s.scrape(s.client, "/shop/chart")
	s.scrape(s.scraper("grafana"), "/shop/cart")
	s.strangers()
	return s
}

// strangers come whose handshakes fail: one does not know the authority, one speaks no
// TLS, and one has a certificate that has ended.
func (s *scene) strangers() {
	s.t.Helper()
	if response, err := http.Get("https://" + s.site.scrape + "/shop/cart"); err == nil {
		response.Body.Close()
		s.t.Fatal("a client that does not know the authority was content")
	}
	if response, err := http.Get("http://" + s.site.scrape + "/shop/cart"); err == nil {
		response.Body.Close()
	}
	cert, key := s.issue("late", pki.Request{
		Role: pki.Agent, SPIFFEID: testenv.ID("nodes/a-name-that-is-rather-long/late"),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute),
	})
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		s.t.Fatal(err)
	}
	connection, err := tls.Dial("tcp", s.tunnel, &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer connection.Close()
	if _, err := connection.Read(make([]byte, 1)); err == nil {
		s.t.Fatal("a certificate that has ended was good enough")
	}
}

func (s *scene) launch(id, name string, targets ...string) *testenv.Process {
	s.t.Helper()
	leaf := pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID(id)}
	if id == "warehouse" { // whose certificate nobody renews
		leaf.NotBefore, leaf.NotAfter = time.Now().Add(-20*time.Hour), time.Now().Add(4*time.Hour)
	}
	p := testenv.Execute(s.t, append(s.files(strings.ReplaceAll(id, "/", "-"), leaf), "SALLYPORT_PROXY_ADDRS="+s.tunnel,
		"SALLYPORT_PROXY_ID="+testenv.ID("proxy"), "SALLYPORT_ADMIN_ADDR=127.0.0.1:0", "SALLYPORT_AGENT_NAME="+name,
		"SALLYPORT_TARGETS="+strings.Join(targets, ",")), testenv.Build(s.t, "sallyport-agent"))
	p.Await(`"routes registered"`)
	if id == "shop" {
		s.agent = "http://" + p.Await(`"admin":"([^"]+)"`)
	}
	return p
}

func (s *scene) stop(p *testenv.Process) {
	s.t.Helper()
	p.Signal(os.Interrupt)
	if _, err := p.Exit(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) scraper(id string) *http.Client {
	s.t.Helper()
	ca, err := pki.Load(s.ca)
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID(id)})
	if err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{leaf.TLS()},
	}}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (s *scene) scrape(client *http.Client, path string) {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodGet, "https://"+s.site.scrape+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "1")
	response, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
}

func (s *scene) route(path string) string {
	return s.admin + "/route?" + url.Values{"path": {path}}.Encode()
}

// The dashboard in a real browser: what it says, that it stays current, that its filters
// and keys work, that nothing an agent says is more than text, and that it can be read.
func TestDashboard(t *testing.T) {
	t.Parallel()
	browser := testenv.NewChromium(t)
	s := newScene(t)
	t.Run("content", func(t *testing.T) { testDashboardContent(t, s, browser) })
	s.launch("lab/x", hostileName, "/lab/x/tools="+testenv.Metrics(t).URL)
	s.scrape(s.client, "/lab/x/tools")
	t.Run("live", func(t *testing.T) { testDashboardLive(t, s, browser) })
	t.Run("filters", func(t *testing.T) { testDashboardFilters(t, s, browser) })
	t.Run("hostile", func(t *testing.T) { testDashboardHostile(t, s, browser) })
	t.Run("narrow", func(t *testing.T) { testDashboardNarrow(t, s, browser) })
	t.Run("readable", func(t *testing.T) { testDashboardReadable(t, s, browser) })
}

// rowOf is an expression for the row of a path.
func rowOf(path string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#rows > tr")].find(r => r.querySelector(".path").textContent === %q)`, path)
}

func clean(t *testing.T, p *testenv.BrowserPage) {
	t.Helper()
	for _, fault := range p.Faults() {
		t.Errorf("the browser complains: %s", fault)
	}
}

// kept are the pictures that belong to the repository: those in the README.
var kept = strings.Fields(`routes-wide-light route-wide-dark refusals-wide-light agents-wide-dark routes-phone-light refusals-phone-dark agent-wide-light`)

// The README shows each picture that is kept, and no other.
func TestReadmePictures(t *testing.T) {
	t.Parallel()
	shown := make(map[string]bool)
	for _, match := range regexp.MustCompile(`[("]testenv/screenshots/([\w-]+)\.png[)"]`).FindAllStringSubmatch(string(read(t, "../README.md")), -1) {
		shown[match[1]] = true
	}
	files, err := filepath.Glob("screenshots/*.png")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range kept {
		if !shown[name] || !slices.Contains(files, "screenshots/"+name+".png") {
			t.Errorf("%s: in the README %v, among %v", name, shown[name], files)
		}
	}
	if len(shown) != len(kept) {
		t.Errorf("the README shows %v", shown)
	}
}

// picture takes a picture of a page, from its top to its end or as much as its kind has,
// if pictures are taken.
func picture(t *testing.T, p *testenv.BrowserPage, name string, width, height, most int) {
	t.Helper()
	if os.Getenv("UPDATE_SCREENSHOTS") == "" {
		return
	}
	var length float64
	if err := p.Eval(`document.body.getBoundingClientRect().height`, &length); err != nil {
		t.Fatal(err)
	}
	p.Resize(width, min(int(length), most))
	screenshot(t, p, name)
	p.Resize(width, height)
}

// screenshot takes a picture again with UPDATE_SCREENSHOTS=1, and all of them with
// UPDATE_SCREENSHOTS=all; nothing compares them.
func screenshot(t *testing.T, p *testenv.BrowserPage, name string) {
	t.Helper()
	if update := os.Getenv("UPDATE_SCREENSHOTS"); update == "" || update != "all" && !slices.Contains(kept, name) {
		return
	}
	file := filepath.Join("screenshots", name+".png")
	if err := os.WriteFile(file, p.Screenshot(), 0o644); err != nil {
		t.Fatal(err)
	}
	if optimiser, err := exec.LookPath("pngquant"); err == nil {
		if out, err := exec.Command(optimiser, "--force", "--ext", ".png", "--quality", "75-98", "--speed", "1", "--strip", file).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}
