package testenv_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"syscall"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
)

// jobs are those of a Prometheus that sees nothing, or is not let in: what is wrong with
// each stands in its configuration, or in the proxy's.
func (b *broken) jobs() {
	b.noTargets()
	b.wrongName()
	b.noScheme()
	if got := b.scrape("/metrics"); got != "404 `not_found`." {
		b.t.Errorf("/metrics: %s", got)
	}
	b.tell("The job lacks `metrics_path`.", "404 `not_found`.",
		"`/metrics`, which Prometheus asks for then, is never a route: set `metrics_path` to the route, or have discovery do it.",
		line(b.proxy, "proxy", "scrape of what can be no route's path", `"route":"/metrics"`))
}

// noTargets is discovery that has nothing to show: to anybody, since the proxy has just
// started, and to a scraper that the policy does not let read.
func (b *broken) noTargets() {
	young := *b.site
	young.startProxy(b.files("young", proxyLeaf)...)
	if got := (&broken{site: &young, client: b.client}).scrape("/-/discovery"); got != "503 `warming_up`." {
		b.t.Errorf("discovery of a proxy that has just started: %s", got)
	}
	ca, err := pki.Load(b.ca)
	if err != nil {
		b.t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("grafana")})
	if err != nil {
		b.t.Fatal(err)
	}
	other := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{leaf.TLS()},
	}}}
	defer other.CloseIdleConnections()
	response, err := other.Get("https://" + b.site.scrape + "/-/discovery")
	if err != nil {
		b.t.Fatal(err)
	}
	list, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || response.StatusCode != http.StatusOK || len(list) > 4 {
		b.t.Errorf("discovery for a scraper that may read nothing: %s %s %v", response.Status, list, err)
	}
	b.tell("Prometheus shows no targets at all.", "Ask `/-/discovery` as the job does: 503 `warming_up`, or 200 and an empty list.",
		"503: the proxy has just started, and shows its targets after `SALLYPORT_DISCOVERY_WARMUP`; Prometheus asks again after its `refresh_interval`. "+
			"An empty list: no agent has registered a route, as the dashboard says, or the policy lets this scraper read none, and then there is a line. "+
			"No answer: the handshake fails, see below, or the job's `url` leads elsewhere.",
		line(b.proxy, "proxy", "discovery shows a scraper nothing", `"scraper":"`+testenv.ID("grafana")+`"`))
}

// wrongName is a scraper that knows the proxy by a name that its certificate does not have.
func (b *broken) wrongName() {
	ca, err := pki.Load(b.ca)
	if err != nil {
		b.t.Fatal(err)
	}
	misled := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "elsewhere"}}}
	defer misled.CloseIdleConnections()
	if response, err := misled.Get("https://" + b.site.scrape + "/team-a/node/app"); err == nil {
		response.Body.Close()
		b.t.Errorf("by another name: %s", response.Status)
	}
	b.tell("Prometheus refuses the proxy's certificate.", "No answer: `certificate is valid for …, not …`, or `unknown authority`, on Prometheus's page of targets.",
		"The targets' host is that of `SALLYPORT_SCRAPE_URL`: set it to a name that stands in the proxy's certificate and that Prometheus can resolve. Else compare `ca_file` of the job with the proxy's CA.",
		line(b.proxy, "proxy", "handshake failed", `"reason":"rejected"`))
}

// noScheme is a scraper that speaks no TLS.
func (b *broken) noScheme() {
	if response, err := http.Get("http://" + b.site.scrape + "/team-a/node/app"); err == nil {
		response.Body.Close()
		b.t.Errorf("without TLS: %s", response.Status)
	} else if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		b.t.Errorf("without TLS: %v", err)
	}
	b.tell("The job lacks `scheme: https`.", "No answer: the connection is closed, and Prometheus shows `EOF` or `connection reset by peer`.",
		"Discovery says `https` to Prometheus; a job with a list of its own has to say `scheme: https` itself.",
		line(b.proxy, "proxy", "handshake failed", `"reason":"plain_http"`))
}
