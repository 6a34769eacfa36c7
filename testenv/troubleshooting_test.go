package testenv_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
	"github.com/seed-951114d4/sallyport/testenv/workload"
)

// trouble is something that breaks, as the README tells of it.
type trouble struct {
	symptom string
	answer  string // to a scrape
	remedy  string
	lines   []string // of the daemons' logs, as they were written
}

// broken is a system in which things break, one after the other.
type broken struct {
	*site
	proxy, agent *testenv.Process
	client       *http.Client
	troubles     []trouble
}

// The README's chapter on troubleshooting is what happens: each failure is provoked, its
// answer compared, and the line that is to be found by it is the line that was logged.
func TestReadmeTroubleshooting(t *testing.T) {
	t.Parallel()
	b := &broken{site: newSite(t)}
	b.proxy = b.startProxy(append(b.files("proxy", proxyLeaf), "SALLYPORT_DISCOVERY_WARMUP=0s")...)
	b.client = b.site.client()
	down, slow := "http://127.0.0.1:1/metrics", testenv.Slow(t).URL
	b.agent = b.startAgent(append(b.files("agent", agentLeaf), "SALLYPORT_MAX_RESPONSE_BYTES=64KiB",
		"SALLYPORT_TARGETS=/team-a/node/app="+testenv.Metrics(t).URL+",/team-a/node/down="+down+",/team-a/node/slow="+slow+
			",/team-a/node/large="+testenv.Body(t, testenv.Exposition(200_000)).URL+",/team-b/x="+down)...)
	b.targets()
	b.refusals()
	b.jobs()
	b.strangers()
	b.agents()
	var text strings.Builder
	for _, trouble := range b.troubles {
		fmt.Fprintf(&text, "\n**%s** %s %s\n\n```text\n%s\n```\n", trouble.symptom, trouble.answer, trouble.remedy, strings.Join(trouble.lines, "\n"))
	}
	testenv.Readme(t, "troubleshooting", text.String()+"\n")
}

func (b *broken) tell(symptom, answer, remedy string, lines ...string) {
	b.troubles = append(b.troubles, trouble{symptom, answer, remedy, lines})
}

// scrape returns the answer in the words of the README.
func (b *broken) scrape(path string) string {
	b.t.Helper()
	request, _ := http.NewRequest(http.MethodGet, "https://"+b.site.scrape+path, nil)
	request.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "1")
	response, err := b.client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	response.Body.Close()
	if outcome := response.Header.Get("Sallyport-Outcome"); outcome != "" {
		return fmt.Sprintf("%d `%s`.", response.StatusCode, outcome)
	}
	return fmt.Sprintf("%d.", response.StatusCode)
}

func (b *broken) expect(path, want string) string {
	b.t.Helper()
	got := b.scrape(path)
	if got != want {
		b.t.Errorf("%s: %s, want %s", path, got, want)
	}
	return got
}

// line waits for a warning with that message and attribute, and returns it as a person
// would write it down.
func line(process *testenv.Process, daemon, message, with string) string {
	found := process.Await(`\{[^\n]*"level":"(?:WARN|ERROR)","msg":"` + regexp.QuoteMeta(message) + `"[^\n]*` + regexp.QuoteMeta(with) + `[^\n]*\}`)
	return daemon + "  " + sayLine(found)
}

// masked are the parts of a line that are others each time.
var masked = []struct {
	part *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`127\.0\.0\.1:[0-9]{4,5}`), "127.0.0.1:…"},
	{regexp.MustCompile(`\b[A-Z2-7]{26}\b`), "…"},
	{regexp.MustCompile(`(session|after|took|lasted)=\S+`), "$1=…"},
	{regexp.MustCompile(`20[0-9-]+T[0-9:.]+Z`), "…"},
	{regexp.MustCompile(`unix:///[^"]+`), "unix:///…: …"},
	{regexp.MustCompile(`gave up after [0-9.]+s`), "gave up after …"},
}

// sayLine writes a line of JSON as level, message and key=value, without what differs.
func sayLine(text string) string {
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	var words []string
	_, _ = decoder.Token()
	for decoder.More() {
		key, _ := decoder.Token()
		var value any
		_ = decoder.Decode(&value)
		said := fmt.Sprint(value)
		if list, ok := value.([]any); ok && len(list) == 1 {
			said = fmt.Sprint(list[0])
		}
		switch {
		case key == "time":
		case key == "level" || key == "msg":
			words = append(words, said)
		case said == "" || strings.ContainsAny(said, ` "=`):
			words = append(words, fmt.Sprintf("%s=%q", key, said))
		default:
			words = append(words, fmt.Sprintf("%s=%s", key, said))
		}
	}
	said := strings.Join(words, " ")
	for _, mask := range masked {
		said = mask.part.ReplaceAllString(said, mask.by)
	}
	return said
}

func (b *broken) targets() {
	const fails, scrapes = "scraping a target fails", "scrapes of a route fail"
	for _, c := range []struct{ route, answer, symptom, remedy string }{
		{"/team-a/node/down", "502 `target_unreachable`.", "A target is down.",
			"The agent cannot connect. Start the target, or mend its URL in the agent's targets."},
		{"/team-a/node/slow", "504 `target_timeout`.", "A target is slow.",
			"It did not answer within Prometheus's `scrape_timeout`. See why, or give the job more time."},
		{"/team-a/node/large", "502 `too_large`.", "A target says too much.",
			"The line says whose limit it was: raise `SALLYPORT_MAX_RESPONSE_BYTES` there, or `max_body_bytes` in the policy, or have the target export less. What outgrows the limit in the middle breaks the connection instead (`truncated`)."},
	} {
		answer := b.expect(c.route, c.answer)
		b.tell(c.symptom, answer, c.remedy, line(b.agent, "agent", fails, `"route":"`+c.route+`"`), line(b.proxy, "proxy", scrapes, `"route":"`+c.route+`"`))
	}
}

func (b *broken) refusals() {
	answer := b.expect("/team-b/x", "404 `not_found`.")
	b.tell("The policy refuses a route.", answer,
		"The reasons say what would do. Find the decision in the audit log by its ID, and try another policy with `sallyport policy eval`. The agent offers the route again when the policy changes.",
		line(b.agent, "agent", "route refused, will be offered again", `"route":"/team-b/x"`),
		line(b.proxy, "proxy", "registration denied by policy", `"route":"/team-b/x"`))
	answer = b.expect("/team-a/node/ap", "404 `not_found`.")
	b.tell("The path is wrong.", answer,
		"Nobody has registered it. `/api/v1/routes` on the proxy's admin listener lists what there is. The scraper gets the same answer where the policy refuses it; the line then says `scrape denied by policy`. (A target's own path that is wrong is 404 `target_status`.)",
		line(b.proxy, "proxy", "scrape of a path that no agent has registered", `"route":"/team-a/node/ap"`))
}

func (b *broken) strangers() {
	ca, err := pki.Load(b.ca)
	if err != nil {
		b.t.Fatal(err)
	}
	nobody := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}}}
	defer nobody.CloseIdleConnections()
	if response, err := nobody.Get("https://" + b.site.scrape + "/team-a/node/app"); err == nil {
		response.Body.Close()
		b.t.Errorf("without a certificate: %s", response.Status)
	}
	b.tell("The scraper shows no credential.", "No answer: the handshake fails.",
		"Give the job `cert_file` and `key_file` in its `tls_config`. Under `SALLYPORT_SCRAPE_CLIENT_AUTH=optional` the answer is 401 `unauthenticated`, and the line says `scraper without a credential`.",
		line(b.proxy, "proxy", "handshake failed", `"reason":"no_certificate"`))
	other := testenv.Execute(b.t, append(b.files("lost", agentLeaf), "SALLYPORT_PROXY_ADDRS="+b.tunnel, "SALLYPORT_ADMIN_ADDR=off",
		"SALLYPORT_PROXY_ID="+testenv.ID("other"), "SALLYPORT_TARGETS=/team-a/node/lost=http://127.0.0.1:1/"), testenv.Build(b.t, "sallyport-agent"))
	b.expect("/team-a/node/lost", "404 `not_found`.")
	b.tell("The agent expects another proxy.", "404 `not_found`; where the proxy knows the route from before, 503 `agent_gone`.",
		"`SALLYPORT_PROXY_ID` is not the ID in the proxy's certificate, or another answers at that address. Nothing was sent to it: the proxy sees a peer that refuses it.",
		line(other, "agent", "no session, trying again until there is one", `"hint":"another`), line(b.proxy, "proxy", "handshake failed", `"listener":"tunnel"`))
}

func (b *broken) agents() {
	b.expiring()
	b.stale()
	b.expect("/team-a/node/app", "200.")
	b.agent.Signal(syscall.SIGKILL)
	// Before that a scrape meets a session that breaks, and another line says so.
	b.proxy.Await(`"msg":"session closed"[^\n]*"agent":"spiffe://example.org/team-a/node"`)
	answer := ""
	testenv.Eventually(b.t, func() error {
		if answer = b.scrape("/team-a/node/app"); answer != "503 `agent_gone`." {
			return fmt.Errorf("the answer is %s", answer)
		}
		return nil
	})
	b.tell("An agent is gone.", answer,
		"No session of the route's owner is connected. Start the agent; if it runs, its own log says why it cannot connect. After `SALLYPORT_DISCOVERY_RETENTION` the answer becomes 404.",
		line(b.proxy, "proxy", "scrapes of a route fail", `"route":"/team-a/node/app"`))
}

// expiring is an agent whose certificate nobody renews.
func (b *broken) expiring() {
	leaf := pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a/old"), NotBefore: time.Now().Add(-time.Second), NotAfter: time.Now().Add(12 * time.Second)}
	agent := b.startAgent(append(b.files("old", leaf), "SALLYPORT_TARGETS=/team-a/old/x="+testenv.Metrics(b.t).URL)...)
	soon := line(agent, "agent", "our certificate ends soon and has no successor", "")
	ended := line(agent, "agent", "our certificate has ended: nobody can connect by it", "")
	said := line(agent, "agent", "session ended, connecting again", "")
	answer := ""
	testenv.Eventually(b.t, func() error {
		if answer = b.scrape("/team-a/old/x"); answer != "503 `agent_gone`." {
			return fmt.Errorf("the answer is %s", answer)
		}
		return nil
	})
	b.tell("A certificate has ended.", answer,
		"Renew it: new files are read within two seconds, and the agent comes back by itself. A warning comes when a sixth of its life is left; alert on `sallyport_certificate_expiry_timestamp_seconds`.",
		soon, ended, said, line(b.proxy, "proxy", "session closed", `"agent":"`+testenv.ID("team-a/old")+`"`))
}

// stale is an agent whose Workload API is gone.
func (b *broken) stale() {
	ca, err := pki.Load(b.ca)
	if err != nil {
		b.t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a/spiffe")})
	if err != nil {
		b.t.Fatal(err)
	}
	api := workload.Start(b.t)
	state := workload.State{
		SVIDs: []tls.Certificate{leaf.TLS()}, Bundles: map[string][]*x509.Certificate{testenv.TrustDomain: {ca.Certificate()}},
	}
	if err := api.Set(state); err != nil {
		b.t.Fatal(err)
	}
	agent := b.startAgent("SPIFFE_ENDPOINT_SOCKET="+api.Address(), "SALLYPORT_TARGETS=/team-a/spiffe/x="+testenv.Metrics(b.t).URL)
	api.Stop()
	said := line(agent, "agent", "no update from the Workload API: what it gave serves until its end", "")
	b.tell("An SVID is not renewed any more.", b.expect("/team-a/spiffe/x", "200."),
		"Until it ends all goes on, and then as above. Mend the SPIRE agent. Where the Workload API does not answer, `sallyport_identity_source_up` is 0 meanwhile. Where it answers with the old SVID that stays 1: the dashboard's Agents have it as not renewed from the last third of its life, and the agent's log warns as above in the last sixth.", said)
}
