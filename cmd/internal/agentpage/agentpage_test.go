package agentpage_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/html"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/agentpage"
	"github.com/seed-951114d4/sallyport/pki"
)

const hostile = "'\"><script>alert(1)</script><img src=x onerror=alert(1)> \x1b[2J\u202e"

// fake is an agent whose proxy wants to be more than text.
type fake struct{}

func (fake) Name() string { return hostile }
func (fake) Ready() error { return errors.New("proxy:1: " + hostile) }
func (fake) Proxies() []agent.ProxyInfo {
	now := time.Now()
	return []agent.ProxyInfo{
		{Addr: "proxy:1", State: "disconnected", Reason: hostile, Hint: "renew it", Since: now},
		{Addr: "proxy:2", State: "ready", ID: "spiffe://example.org/proxy", Session: hostile, Software: hostile, Connected: &now, NotAfter: &now, Accepted: 3, Refused: 1},
	}
}

func (fake) Routes() []agent.RouteInfo {
	again := time.Now().Add(time.Minute)
	return []agent.RouteInfo{{
		Path: "/a" + hostile, Target: "http://h:1" + hostile, Last: &agent.LastInfo{At: time.Now(), Outcome: "target_unreachable", Reason: hostile},
		Answers: []agent.AnswerInfo{{Proxy: "proxy:1", State: "none"}, {Proxy: "proxy:2", State: "refused", Reasons: hostile, Again: &again}},
	}}
}

// keeper has no certificate.
type keeper struct{ authn.Keeper }

func (keeper) Material() (*authn.Material, error) { return nil, errors.New("none") }
func (keeper) Health() authn.Health               { return authn.Health{Cause: hostile} }

// aging has a certificate that began and ends then.
type aging struct {
	authn.Keeper
	leaf *pki.Leaf
}

func (a aging) Material() (*authn.Material, error) {
	if !time.Now().Before(a.leaf.Certificate().NotAfter) {
		return nil, errors.New("expired")
	}
	certificate := a.leaf.TLS()
	return &authn.Material{Certificate: &certificate}, nil
}

func (a aging) Health() authn.Health { return authn.Health{NotAfter: a.leaf.Certificate().NotAfter} }

// The page says in time that the agent's certificate is not renewed, and what renews it.
func TestPageTellsOfItsCertificate(t *testing.T) {
	t.Parallel()
	// Made out here, for the time of the bubble: there FIPS' entropy has no clock that runs.
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	ca, err := pki.NewCA(pki.CAConfig{TrustDomain: "example.org", NotBefore: begin, NotAfter: begin.Add(time.Hour * 24)})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Request{Role: pki.Agent, SPIFFEID: "spiffe://example.org/a", NotBefore: begin, NotAfter: begin.Add(3 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		page := agentpage.New(fake{}, aging{leaf: leaf}, "renew the files", "v")
		for _, want := range []string{"", "not renewed yet.</strong> renew the files", "has ended.</strong> renew the files"} {
			recorder := httptest.NewRecorder()
			page.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
			body := recorder.Body.String()
			if !strings.Contains(body, want) || strings.Contains(body, "renew the files") != (want != "") {
				t.Errorf("at %v it does not say %q", time.Now(), want)
			}
			if ended := strings.Contains(want, "has ended"); strings.Contains(body, "none any more") != ended || ended && strings.Contains(body, "none yet") {
				t.Errorf("at %v it does not say that there was an identity", time.Now())
			}
			time.Sleep(130 * time.Minute)
		}
	})
}

// The page says why, in whatever words, and whatever they are they are words.
func TestPage(t *testing.T) {
	t.Parallel()
	page := agentpage.New(fake{}, keeper{}, hostile, hostile)
	for path, want := range map[string]int{"/": http.StatusOK, "/elsewhere": http.StatusNotFound, "/assets/style.css": http.StatusOK} {
		recorder := httptest.NewRecorder()
		page.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
		if recorder.Code != want {
			t.Errorf("%s: %d", path, recorder.Code)
		}
		if path != "/" {
			continue
		}
		body := recorder.Body.String()
		document, err := html.Parse(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for node := range document.Descendants() {
			if node.Type == html.ElementNode && (node.Data == "img" || node.Data == "script") {
				t.Errorf("an element %s", node.Data)
			}
			for _, attribute := range node.Attr {
				if strings.HasPrefix(attribute.Key, "on") {
					t.Errorf("%s has the attribute %s", node.Data, attribute.Key)
				}
			}
		}
		for _, want := range []string{"disconnected", "renew it", "1 refused", "target_unreachable", "&lt;script&gt;", "offered again <time", `http-equiv="refresh"`} {
			if !strings.Contains(body, want) {
				t.Errorf("it does not say %q", want)
			}
		}
		if strings.ContainsAny(body, "\x1b\u202e") {
			t.Error("it holds what no reader sees")
		}
	}
}
